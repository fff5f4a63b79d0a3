"""Splits and data sets with several dense targets per image."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch.data._augment import Augment
from mentorch.data._dataset import moments, to_float
from mentorch.data.dense._camera import Camera

IGNORE = 255
"""The segmentation label of pixels that count nowhere; depth has 0 there, normals the zero vector, masks False."""

# kind of target -> dtype in a split, shape after [N] without height and width
KINDS: Mapping[str, tuple[torch.dtype, tuple[int, ...]]] = {
    "segmentation": (torch.uint8, ()),
    "depth": (torch.float32, (1,)),
    "normals": (torch.float32, (3,)),
    "mask": (torch.bool, (1,)),
}

Targets = Mapping[str, Tensor]


@runtime_checkable
class TogetherLike(Protocol):
    """An augmentation that moves images and targets alike, as `Together` does."""

    def together(self, images: Tensor, targets: Targets, key: Tensor) -> tuple[Tensor, dict[str, Tensor]]: ...


@dataclass(frozen=True, eq=False)
class DenseSplit:
    """Images with a value of every target at every pixel, on one device; what `Batches` takes in place of a `Split`.

    Attributes:
        images: uint8, shape `[N, C, H, W]`.
        targets: any of ``segmentation`` (uint8 `[N, H, W]`, 255 counts nowhere), ``depth`` (float32 `[N, 1, H, W]`,
            metres along the optical axis, 0 where unknown), ``normals`` (float32 `[N, 3, H, W]`, unit vectors in the
            axes of `Camera`, zero where unknown) and ``mask`` (bool `[N, 1, H, W]`).
        index: row of each image in the official split, int64, shape `[N]`.

    Raises:
        UsageError: for other targets, shapes or dtypes, or tensors on different devices.
    """

    images: Tensor
    targets: Targets
    index: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise UsageError(f"a split needs uint8 images [N, C, H, W], not {_kind(self.images)}")
        if self.index.shape != self.images.shape[:1] or self.index.dtype != torch.int64:
            raise UsageError(f"a split of {len(self)} images needs as many int64 index, not {_kind(self.index)}")
        for name, values in self.targets.items():
            if name not in KINDS:
                raise unknown("target", name, KINDS)
            dtype, channels = KINDS[name]
            shape = (len(self.images), *channels, *self.images.shape[2:])
            if values.shape != shape or values.dtype != dtype:
                raise UsageError(f"target {name!r} must be {_short(dtype)} {list(shape)}, not {_kind(values)}")
        if len({x.device for x in (self.images, self.index, *self.targets.values())}) > 1:
            raise UsageError("images, targets and index of a split are on different devices: use DenseSplit.to(device)")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"DenseSplit({len(self)} images {list(self.images.shape[1:])}, {', '.join(self.targets)})"

    def select(self, rows: Tensor) -> "DenseSplit":
        """The split made of these rows, int64, shape `[M]`."""
        targets = {name: values.index_select(0, rows) for name, values in self.targets.items()}
        return DenseSplit(self.images.index_select(0, rows), targets, self.index.index_select(0, rows))

    def to(self, device: torch.device | str) -> "DenseSplit":
        """The same split on another device."""
        targets = {name: values.to(device) for name, values in self.targets.items()}
        return DenseSplit(self.images.to(device), targets, self.index.to(device))

    def batch(self, rows: Tensor, augment: Augment | None, key: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Images in [0, 1] and targets of these rows, augmented alike; segmentation as int64.

        Raises:
            UsageError: for an augmentation that would move the images and leave the targets where they are.
        """
        images = self.images.index_select(0, rows)
        targets = {name: values.index_select(0, rows) for name, values in self.targets.items()}
        if augment is not None and key is not None:
            if not isinstance(augment, TogetherLike):
                raise UsageError(
                    f"{augment!r} changes images and not their targets: use mentorch.data.dense.Together, "
                    "with ImagesOnly(...) around what leaves pixels in their places"
                )
            images, targets = augment.together(images, targets, key)
        if "segmentation" in targets:
            targets["segmentation"] = targets["segmentation"].long()
        return to_float(images), targets


@dataclass(frozen=True, eq=False)
class DenseDataset:
    """A data set of dense targets with its three splits.

    Attributes:
        name: as asked for.
        train, validation, test: disjoint splits.
        classes: of the segmentation, in the order of the labels; empty without one.
        mean, std: per channel, of the training split, images scaled to [0, 1].
        camera: that took the images, at their present size, or None where it is not known.
        note: what to say beside any number measured here, or None.
        fingerprint: SHA-256 of images, targets and indices of the three splits and of the class names.
    """

    name: str
    train: DenseSplit
    validation: DenseSplit
    test: DenseSplit
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    camera: Camera | None = None
    note: str | None = None
    fingerprint: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        *,
        train: DenseSplit,
        validation: DenseSplit,
        test: DenseSplit,
        classes: Sequence[str] = (),
        camera: Camera | None = None,
        note: str | None = None,
    ) -> "DenseDataset":
        """A data set from its splits; mean, std and fingerprint are computed."""
        mean, std = moments(train.images)
        digest = _fingerprint((train, validation, test), classes)
        return cls(name, train, validation, test, tuple(classes), mean, std, camera, note, digest)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The targets that every image has."""
        return tuple(self.train.targets)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        height, width = self.train.images.shape[2:]
        return height, width

    def to(self, device: torch.device | str) -> "DenseDataset":
        """The same data set with its splits on another device."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "validation", "test")}
        return replace(self, **parts)


def _fingerprint(splits: Sequence[DenseSplit], classes: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(classes).encode())
    for split in splits:
        for name, values in {"images": split.images, **split.targets, "index": split.index}.items():
            digest.update(f"{name} {tuple(values.shape)}".encode())
            digest.update(values.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(values: Tensor) -> str:
    return f"{_short(values.dtype)} {list(values.shape)}"
