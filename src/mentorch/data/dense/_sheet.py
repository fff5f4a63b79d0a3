"""Who says what of some images, side by side, with what the colours mean."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data.dense._paint import VOID, class_colours, paint, shade

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ORDER = ("segmentation", "depth", "normals")
_GAP, _LINE, _INK, _PAPER = 4, 16, (31, 35, 40), (255, 255, 255)
_AXES = "normals: red to the right, green upwards, blue to the viewer"

Columns = Mapping[str, Mapping[str, Tensor]]


def sheet(
    images: Tensor, columns: Columns, *, classes: Sequence[str] = (), tile: int = 96, title: str = ""
) -> "Picture":
    """A picture: one row for each image and task, a column for the input and each who says something.

    Args:
        images: shape `[N, C, H, W]`, uint8 or in [0, 1].
        columns: title -> task -> what is said, as `paint` takes it; the scale of depth is that of the first column
            which has depth, so the target comes first. A task that a column lacks leaves a gap.
        classes: names of the classes, for the legend.
        tile: pixels that an image is at least high; it is enlarged by a whole number.
        title: above it all.

    Raises:
        UsageError: for columns without a task, or of other sizes than the images.
    """
    from PIL import Image, ImageDraw

    tasks = [task for task in ORDER if any(task in said for said in columns.values())]
    if not tasks:
        raise UsageError(f"a sheet needs one of {', '.join(ORDER)} in a column")
    factor = max(1, -(-tile // images.shape[2]))
    height, width = images.shape[2] * factor, images.shape[3] * factor
    scale = _scale(columns)
    legend = _legend(columns, tasks, classes, scale)
    top = _LINE * (2 if title else 1) + _GAP
    across = (len(columns) + 1) * (width + _GAP) + _GAP
    rows = _wrapped(legend, across - _GAP)
    down = top + len(images) * len(tasks) * (height + _GAP) + len(rows) * _LINE
    picture = Image.new("RGB", (across, down), _PAPER)
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text((_GAP, 0), title, fill=_INK)
    for number, name in enumerate(("input", *columns)):
        pen.text((_GAP + number * (width + _GAP), top - _LINE), _cut(name, width), fill=_INK)
    for row, column, tile_ in _tiles(images, columns, tasks, scale):
        large = F.interpolate(tile_[None], scale_factor=float(factor), mode="nearest")[0].permute(1, 2, 0)
        place = (_GAP + column * (width + _GAP), top + row * (height + _GAP))
        picture.paste(Image.fromarray(large.contiguous().cpu().numpy()), place)
    for number, entries in enumerate(rows):
        _write(picture, entries, down - (len(rows) - number) * _LINE)
    return picture


def _scale(columns: Columns) -> tuple[float, float]:
    """Nearest and farthest known depth of the first column that has depth."""
    for said in columns.values():
        if "depth" in said:
            known = said["depth"][(said["depth"] > 0) & said["depth"].isfinite()].float()
            if len(known) and known.min() < known.max():
                return float(known.min()), float(known.max())
    return 1.0, 10.0


def _tiles(
    images: Tensor, columns: Columns, tasks: Sequence[str], scale: tuple[float, float]
) -> list[tuple[int, int, Tensor]]:
    """Row, column and colours of every tile; the input stands beside its first task."""
    found = [(i * len(tasks), 0, tile) for i, tile in enumerate(paint("images", images))]
    for column, (name, said) in enumerate(columns.items(), start=1):
        for place, task in enumerate(tasks):
            if task not in said:
                continue
            painted = paint(task, said[task], near=scale[0], far=scale[1])
            if painted.shape[0] != len(images) or painted.shape[2:] != images.shape[2:]:
                raise UsageError(f"{name}: {task} of shape {list(said[task].shape)} beside images {list(images.shape)}")
            found += [(i * len(tasks) + place, column, tile) for i, tile in enumerate(painted)]
    return found


Entry = tuple[str, Tensor | None]
"""A word of the legend, and the colours in front of it, `[3, h, w]`."""


def _legend(columns: Columns, tasks: Sequence[str], classes: Sequence[str], scale: tuple[float, float]) -> list[Entry]:
    found: list[Entry] = []
    if "segmentation" in tasks:
        pairs = [*zip(classes, class_colours(len(classes)), strict=True), ("unknown", VOID)]
        found += [(name, _block(torch.tensor(colour)[:, None, None].expand(3, 9, 9))) for name, colour in pairs]
    if "depth" in tasks:
        ramp = shade(torch.linspace(0, 1, 80).view(1, 1, 80).expand(1, 9, 80))[0]
        found.append((f"depth, {scale[0]:.3g} to {scale[1]:.3g} m by its logarithm; black: unknown", _block(ramp)))
    return found + ([(_AXES, None)] if "normals" in tasks else [])


def _block(colours: Tensor) -> Tensor:
    return colours.byte()


def _length(entry: Entry) -> int:
    word, colours = entry
    return _width(word) + 12 + (0 if colours is None else colours.shape[2] + 4)


def _wrapped(entries: Sequence[Entry], width: int) -> list[list[Entry]]:
    rows: list[list[Entry]] = [[]]
    for entry in entries:
        if rows[-1] and sum(map(_length, [*rows[-1], entry])) > width:
            rows.append([])
        rows[-1].append(entry)
    return rows if entries else []


def _write(picture: "Picture", entries: Sequence[Entry], top: int) -> None:
    from PIL import Image, ImageDraw

    pen, left = ImageDraw.Draw(picture), _GAP
    for entry in entries:
        word, colours = entry
        start = left
        if colours is not None:
            picture.paste(Image.fromarray(colours.permute(1, 2, 0).contiguous().numpy()), (left, top + 3))
            start += colours.shape[2] + 4
        pen.text((start, top), word, fill=_INK)
        left += _length(entry)


def _cut(name: str, width: int) -> str:
    if _width(name) <= width:
        return name
    while name and _width(f"{name}…") > width:
        name = name[:-1]
    return f"{name}…"


def _width(word: str) -> int:
    """Pixels in the built-in font."""
    from PIL import ImageFont

    return round(ImageFont.load_default().getlength(word))
