"""Data sets of dense targets by name."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import RunError, UsageError, unknown
from mentorch.data._keys import sample_keys
from mentorch.data._numbers import whole
from mentorch.data._splits import part_size
from mentorch.data.dense import _layouts
from mentorch.data.dense._camera import Camera, normals_from_depth
from mentorch.data.dense._geometry import both
from mentorch.data.dense._layouts import Layout, Record
from mentorch.data.dense._scenes import scenes
from mentorch.data.dense._split import IGNORE, KINDS, DenseDataset, DenseSplit
from mentorch.data.dense._together import resize

_TEST_SHARE = 0.2
_TEST_SEED = 0
_BLOCK = 10  # neighbours in a listing, often frames of one film, that stay in one split

Row = tuple[int, Record]  # its place in the official split, its files

_LAYOUTS: Mapping[str, Callable[[Path], Layout]] = {
    "camvid": _layouts.camvid,
    "cityscapes": _layouts.cityscapes,
    "nyuv2": partial(_layouts.nyuv2, classes=40),
    "nyuv2-13": partial(_layouts.nyuv2, classes=13),
    "folder": _layouts.folder,
}


def load(
    name: str,
    *,
    size: int | tuple[int, int] | None = None,
    validation: float | int = 0.1,
    split_seed: int = 0,
    normals: bool = True,
) -> DenseDataset:
    """Load a data set of dense targets, with fixed training, validation and test splits.

    An official test split is the test split; without one, a fifth of the images is, the same for every seed.
    Validation is drawn from the training split unless the data set has its own. Both are drawn in blocks of ten
    neighbours in the order of the file names, since neighbours are often frames of the same film.

    Args:
        name: ``scenes`` (the default size and numbers of `scenes`), or ``KIND:PATH`` with the kind ``camvid``,
            ``cityscapes``, ``nyuv2`` (40 classes), ``nyuv2-13`` or ``folder``; docs/dense.md says what lies in PATH.
        size: side, or height and width, after enlarging or reducing to cover it and cutting off what is too much,
            equally on both sides; by default the size of the files.
        validation: fraction or number of images.
        split_seed: of the validation split.
        normals: compute normals from depth where there are none and the camera is known.

    Raises:
        UsageError: for an unknown name, a place without the files, or impossible sizes.
        RunError: for a file that cannot be read, or images of different sizes where ``size`` is None.
    """
    whole("split_seed", split_seed)
    if size is not None and min(both(size)) < 1:
        raise UsageError(f"size must be 1 or more, not {size}")
    kind, _, place = name.partition(":")
    if name == "scenes":
        return scenes(64 if size is None else size)
    if kind not in _LAYOUTS or not place:
        raise unknown("data set", name, ["scenes", *(f"{known}:PATH" for known in _LAYOUTS)])
    root = Path(place).expanduser()
    if not root.is_dir():
        raise UsageError(f"folder {root} does not exist")
    layout = _LAYOUTS[kind](root)
    parts = {part: list(enumerate(records)) for part, records in layout.splits.items()}
    notes = [layout.note] if layout.note else []
    if "test" not in parts:
        kept, out = _hold_out(parts["train"], _TEST_SHARE, _TEST_SEED, "the test split")
        parts["train"], parts["test"] = (list(enumerate(r for _, r in rows)) for rows in (kept, out))
        notes.append(f"no official test split: {len(parts['test'])} images held out, in blocks of {_BLOCK}")
    if "validation" not in parts:
        parts["train"], parts["validation"] = _hold_out(parts["train"], validation, split_seed, "validation")
    reader = _Reader(layout, both(size) if size is not None else None, normals)
    splits = {part: reader.split(rows, part) for part, rows in parts.items()}
    return DenseDataset.of(
        name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        classes=_class_names(layout, list(splits.values())),
        camera=reader.camera,
        note="; ".join(notes) or None,
    )


class _Reader:
    """Reads records of a layout at one size, and follows the camera to that size."""

    def __init__(self, layout: Layout, size: tuple[int, int] | None, normals: bool) -> None:
        self.layout, self.size, self.normals = layout, size, normals
        self.camera: Camera | None = None

    def split(self, rows: Sequence[Row], part: str) -> DenseSplit:
        if not rows:
            raise UsageError(f"no image is left for {part}: ask for more of them")
        with ThreadPoolExecutor() as pool:
            samples = list(pool.map(self._sample, [record for _, record in rows]))
        shapes = {tuple(images.shape[2:]) for images, _ in samples}
        if len(shapes) > 1:
            raise RunError(f"images have {len(shapes)} different sizes, such as {sorted(shapes)[:2]}: name a size")
        images = torch.cat([images for images, _ in samples])
        targets = {n: torch.cat([found[n] for _, found in samples]) for n in KINDS if n in samples[0][1]}
        if self.camera is not None and self.normals and "depth" in targets and "normals" not in targets:
            # 1/16 of the height: wide enough for depth in steps of centimetres, narrow enough for furniture
            window = max(3, 2 * round(images.shape[2] / 32) + 1)
            chunks = torch.split(targets["depth"], 16)
            targets["normals"] = torch.cat([normals_from_depth(depth, self.camera, window=window) for depth in chunks])
        return DenseSplit(images, targets, torch.tensor([row for row, _ in rows]))

    def _sample(self, record: Record) -> tuple[Tensor, dict[str, Tensor]]:
        found = {kind: torch.from_numpy(self.layout.read[kind](path))[None] for kind, path in record.items()}
        images = found.pop("images")
        for kind, values in found.items():
            if values.shape[-2:] != images.shape[-2:]:
                sizes = list(values.shape[-2:]), list(images.shape[-2:])
                raise RunError(f"{record[kind]} has {sizes[0]} pixels, its image {sizes[1]}")
        return self._fitted(images, found)

    def _fitted(self, images: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        height, width = images.shape[2:]
        target = self.size or (height, width)
        factor = max(target[0] / height, target[1] / width)
        covering = (max(target[0], round(height * factor)), max(target[1], round(width * factor)))
        images, targets = resize(images, targets, covering)
        top, left = ((whole - part) // 2 for whole, part in zip(covering, target, strict=True))
        if self.layout.camera is not None:
            camera, (full_height, full_width) = self.layout.camera
            seen = camera.resized(covering[0] / full_height, covering[1] / full_width)
            self.camera = seen.cropped(top, left)
        cut = (-left, left + target[1] - covering[1], -top, top + target[0] - covering[0])
        return F.pad(images, cut), {kind: F.pad(values, cut) for kind, values in targets.items()}


def _hold_out(rows: Sequence[Row], amount: float | int, seed: int, what: str) -> tuple[list[Row], list[Row]]:
    """Rows kept and held out, in blocks of neighbours at random places, both in order."""
    size = part_size(what, amount, len(rows))
    order = sample_keys(seed, 0, torch.arange(len(rows)) // _BLOCK).argsort(stable=True)
    out = set(order[:size].tolist())
    return [row for i, row in enumerate(rows) if i not in out], [rows[i] for i in sorted(out)]


def _class_names(layout: Layout, splits: Sequence[DenseSplit]) -> tuple[str, ...]:
    """The layout's names, or numbers as far as labels go.

    Raises:
        RunError: if a label has no name.
    """
    labels = [split.targets["segmentation"] for split in splits if "segmentation" in split.targets]
    if not labels:
        return ()
    most = max(int(torch.where(values == IGNORE, 0, values).max()) for values in labels)
    if layout.classes and most >= len(layout.classes):
        raise RunError(f"a label is {most}, but there are {len(layout.classes)} classes: name more, or write 255")
    return layout.classes or tuple(str(number) for number in range(most + 1))
