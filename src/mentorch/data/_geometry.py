"""Augmentations that move pixels: each says where the output reads the input, one gather does the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._keys import below, uniform
from mentorch.data._numbers import whole

# a coordinate that no later move brings back into an image
_OUTSIDE = -(1 << 20)


@runtime_checkable
class Geometry(Protocol):
    """An augmentation that only moves whole rows and columns."""

    def move(self, rows: Tensor, columns: Tensor, key: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Where the input is read for an output position.

        Args:
            rows: positions in the output, int64, shape `[N, H]`.
            columns: positions in the output, int64, shape `[N, W]`.
            key: one per sample, int64, shape `[N]`.
            size: (H, W) of the input.

        Returns:
            Positions in the input, same shapes; outside the image means black.
        """
        ...


@dataclass(frozen=True)
class PadCrop:
    """Pad with black on every side, then crop the original size at a random place."""

    padding: int = 4

    def __post_init__(self) -> None:
        whole("PadCrop: padding", self.padding, least=0)

    def move(self, rows: Tensor, columns: Tensor, key: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        places = 2 * self.padding + 1
        down = below(key, 0, places) - self.padding  # [N]
        right = below(key, 1, places) - self.padding
        return rows + down[:, None], columns + right[:, None]

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """Crop ``images`` `[N, C, H, W]` by ``key`` `[N]`."""
        return warp(images, [(self, key)])


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise UsageError(f"Flip: probability must lie in [0, 1], not {self.probability}")

    def move(self, rows: Tensor, columns: Tensor, key: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        flipped = uniform(key, 0) < self.probability  # [N]
        return rows, torch.where(flipped[:, None], size[1] - 1 - columns, columns)

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """Mirror some of ``images`` `[N, C, H, W]` by ``key`` `[N]`."""
        return warp(images, [(self, key)])


def warp(images: Tensor, steps: Sequence[tuple[Geometry, Tensor]]) -> Tensor:
    """Apply geometric steps in order, reading the images once.

    Positions are followed from the output back to the input, so the last step moves first.

    Args:
        images: any dtype, shape `[N, C, H, W]`.
        steps: (augmentation, its keys `[N]`) pairs.

    Returns:
        Images of the same shape and dtype.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device).expand(len(images), height)
    columns = torch.arange(width, device=images.device).expand(len(images), width)
    for step, key in reversed(steps):
        rows, columns = step.move(rows, columns, key, (height, width))
        if len(steps) > 1:
            rows = rows.masked_fill((rows < 0) | (rows >= height), _OUTSIDE)
            columns = columns.masked_fill((columns < 0) | (columns >= width), _OUTSIDE)
    return _gather(images, rows, columns)


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    place = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]  # [N, H, W]
    place = place.view(count, 1, height * width).expand(count, channels, height * width)
    moved = images.reshape(count, channels, height * width).gather(2, place).view_as(images)
    return moved * inside[:, None]
