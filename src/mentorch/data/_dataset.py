"""Splits and data sets: small images as uint8 tensors on one device."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mentorch._errors import UsageError


@dataclass(frozen=True, eq=False)
class Split:
    """Images with labels, on one device.

    Attributes:
        images: uint8, shape `[N, C, H, W]`.
        labels: class numbers, int64, shape `[N]`.
        index: row of each image in the official split it comes from, int64, shape `[N]`.

    Raises:
        UsageError: for other shapes or dtypes, or tensors on different devices.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise UsageError(f"a split needs uint8 images [N, C, H, W], not {_kind(self.images)}")
        for name, values in (("labels", self.labels), ("index", self.index)):
            if values.shape != self.images.shape[:1] or values.dtype != torch.int64:
                raise UsageError(
                    f"a split of {len(self.images)} images needs as many int64 {name}, not {_kind(values)}"
                )
            if values.device != self.images.device:
                raise UsageError(f"images are on {self.images.device}, {name} on {values.device}: use Split.to(device)")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self)} images {list(self.images.shape[1:])}, {self.images.device})"

    def select(self, rows: Tensor) -> "Split":
        """The split made of these rows, int64, shape `[M]`."""
        return Split(*(x.index_select(0, rows) for x in (self.images, self.labels, self.index)))

    def to(self, device: torch.device | str) -> "Split":
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device), self.index.to(device))

    def batch(
        self, rows: Tensor, augment: Callable[[Tensor, Tensor], Tensor] | None, key: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], augmented by ``key`` `[M]`, and labels of these rows, int64, shape `[M]`."""
        images = self.images.index_select(0, rows)
        if augment is not None and key is not None:
            images = augment(images, key)
        return to_float(images), self.labels.index_select(0, rows)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with its three splits; `load` makes one, `Dataset.of` makes one from tensors.

    Attributes:
        name: as asked for.
        train, validation, test: disjoint splits.
        classes: class names, in the order of the labels.
        mean, std: per channel, of the training split, inputs scaled to [0, 1].
        note: what to say beside any number measured here, or None.
        fingerprint: SHA-256 of the images, labels and indices of the three splits and of the class names.
        mirror: whether a mirrored image keeps its class.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str | None = None
    fingerprint: str = ""
    mirror: bool = True

    @classmethod
    def of(
        cls,
        name: str,
        *,
        train: Split,
        validation: Split,
        test: Split,
        classes: Sequence[str],
        note: str | None = None,
        mirror: bool = True,
    ) -> "Dataset":
        """A data set from its splits; mean, std and fingerprint are computed."""
        mean, std = moments(train.images)
        digest = _fingerprint((train, validation, test), classes)
        return cls(name, train, validation, test, tuple(classes), mean, std, note, digest, mirror)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width of an image, in pixels.

        Raises:
            UsageError: if images are not square.
        """
        height, width = self.train.images.shape[2:]
        if height != width:
            raise UsageError(f"images of {self.name!r} are {height} x {width}, not square: read train.images.shape")
        return height

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set with its splits on another device."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "validation", "test")}
        return replace(self, **parts)


def to_float(images: Tensor) -> Tensor:
    """Images in [0, 1] as floating point: uint8 is divided by 255, floating point is returned as it is."""
    if images.is_floating_point():
        return images
    # a divisor on the device: by a plain number, CUDA multiplies with the rounded reciprocal, the CPU divides
    return images.to(torch.float32).div_(images.new_full((), 255.0, dtype=torch.float32))


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, over all pixels, scaled to [0, 1]; exact integer sums."""
    first = torch.zeros(images.shape[1], dtype=torch.int64, device=images.device)
    second = torch.zeros_like(first)
    for chunk in torch.split(images, 2048):
        values = chunk.to(torch.int32)
        first += values.sum(dim=(0, 2, 3))
        second += (values * values).sum(dim=(0, 2, 3))
    count = max(1, images.numel() // images.shape[1])
    mean = first.to(torch.float64) / count
    std = (second.to(torch.float64) / count - mean.square()).clamp(min=0).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _fingerprint(splits: Sequence[Split], classes: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(classes).encode())
    for split in splits:
        digest.update(repr(tuple(split.images.shape)).encode())
        for values in (split.images, split.labels, split.index):
            digest.update(values.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _kind(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)}"
