"""Reading images and targets at positions between pixels, each kind in the way that is right for it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._math import unit
from mentorch.data._dataset import to_float
from mentorch.data.dense._camera import slopes
from mentorch.data.dense._split import IGNORE

_SAME_SIDE = 0.866  # cosine: corners turned by more than 30 degrees belong to another face


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the input is read for every pixel of the output.

    Attributes:
        x, y: column and row in the input, floating point, shape `[N, H, W]`.
    """

    x: Tensor
    y: Tensor

    def corners(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The four pixels around each position: values `[N, C, H, W]`, zero outside, and weights `[N, 1, H, W]`."""
        left, top = self.x.floor(), self.y.floor()
        right_share, bottom_share = self.x - left, self.y - top
        for down, row_share in ((0, 1 - bottom_share), (1, bottom_share)):
            for right, column_share in ((0, 1 - right_share), (1, right_share)):
                found, inside = _read(values, left.long() + right, top.long() + down)
                yield found, (row_share * column_share)[:, None] * inside

    def nearest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The pixel at each position: its values `[N, C, H, W]`, zero outside, and whether it is inside."""
        return _read(values, (self.x + 0.5).floor().long(), (self.y + 0.5).floor().long())


def _read(values: Tensor, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    count, channels, height, width = values.shape
    inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height))[:, None]
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)  # [N, H, W]
    place = place.view(count, 1, -1).expand(-1, channels, -1)
    found = values.reshape(count, channels, -1).gather(2, place).view(count, channels, *column.shape[1:])
    return found * inside, inside


def sample_image(images: Tensor, at: Positions) -> Tensor:
    """Bilinear; black outside."""
    return _sum(value * weight for value, weight in at.corners(to_float(images)))


def sample_segmentation(labels: Tensor, at: Positions) -> Tensor:
    """The nearest label: classes have no mean. 255 outside."""
    found, inside = at.nearest(labels[:, None])
    return found.masked_fill(~inside, IGNORE)[:, 0]


def sample_mask(mask: Tensor, at: Positions) -> Tensor:
    """The nearest value; False outside."""
    return at.nearest(mask)[0]


def sample_depth(depth: Tensor, at: Positions) -> Tensor:
    """Read off the plane that fits around the nearest pixel: exact on planes, and never a mixture of two surfaces.

    Unknown depth (0) spreads nowhere, and stays unknown. What the fit says is at most half a pixel away.
    """
    known = depth > 0
    _, right, down = slopes(torch.where(known, 1 / torch.where(known, depth, 1.0), 0.0), 1)
    nearest, _ = at.nearest(torch.cat((depth, right, down), dim=1))
    here, right, down = (nearest[:, number, None] for number in range(3))
    aside, below = (c - (c + 0.5).floor() for c in (at.x[:, None], at.y[:, None]))
    return torch.div(here, 1 + (aside * right + below * down).clamp(min=-0.5))


def sample_normals(normals: Tensor, at: Positions) -> Tensor:
    """Bilinear over the corners on the same side of an edge as the nearest pixel, then unit length; zero is unknown."""
    nearest, _ = at.nearest(normals)
    same = ((v * w * ((v * nearest).sum(1, keepdim=True) >= _SAME_SIDE)) for v, w in at.corners(normals))
    return unit(_sum(same), dim=1) * (nearest != 0).any(1, keepdim=True)


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
