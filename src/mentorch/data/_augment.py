"""Augmentations as values: ``augment(images, key) -> images``, batched, on the device of the images.

Images are uint8 in 0..255 or floating point in [0, 1], shape `[N, C, H, W]`; ``key`` is int64, shape `[N]`
(`sample_keys`). What happens to a sample depends on its key alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._dataset import Dataset, to_float
from mentorch.data._geometry import Flip, Geometry, PadCrop, warp
from mentorch.data._keys import below, draw, uniform

Augment = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cutout:
    """Fill a square around a random pixel; near the border part of the square falls outside.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv 1708.04552,
    section 3.2. ``fill`` is a value in [0, 1]; the paper fills with the mean, after normalisation zero.
    """

    size: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1 or not 0.0 <= self.fill <= 1.0:
            raise UsageError(f"Cutout: size must be 1 or more and fill in [0, 1], not {self.size} and {self.fill}")

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """Fill one square in each of ``images`` `[N, C, H, W]` by ``key`` `[N]`."""
        height, width = images.shape[-2:]
        rows = self._covered(below(key, 0, height), height)  # [N, H]
        columns = self._covered(below(key, 1, width), width)  # [N, W]
        value = self.fill if images.is_floating_point() else round(255 * self.fill)
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], value)

    def _covered(self, centre: Tensor, length: int) -> Tensor:
        start = centre[:, None] - self.size // 2
        position = torch.arange(length, device=centre.device)
        return (position >= start) & (position < start + self.size)


@dataclass(frozen=True)
class Color:
    """Change brightness, contrast and saturation, in this order, each by a factor uniform in [max(0, 1 - x), 1 + x].

    Brightness multiplies; contrast moves pixels away from or towards the mean grey of the image; saturation moves
    them away from or towards their own grey (luma weights 0.299, 0.587, 0.114 for three channels, else the mean of
    the channels). Values are clamped to [0, 1] after each. Returns floating point.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def __post_init__(self) -> None:
        if min(self.brightness, self.contrast, self.saturation) < 0:
            raise UsageError(f"{self}: strengths must be 0 or more")

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """Recolour ``images`` `[N, C, H, W]` by ``key`` `[N]`."""
        images = to_float(images)
        images = (images * _factor(key, 0, self.brightness)).clamp(0, 1)
        # summed as integers: no order of summation, so the same bits in every batch and on every device
        levels = (_grey(images) * 65536).round().to(torch.int64)
        mean = levels.sum(dim=(1, 2, 3), keepdim=True).to(images.dtype) / (65536 * images[0, 0].numel())
        images = _blend(images, mean, _factor(key, 1, self.contrast))
        return _blend(images, _grey(images), _factor(key, 2, self.saturation))


@dataclass(frozen=True)
class Compose:
    """Several augmentations in order, each with draws of its own; neighbours that move pixels share one gather."""

    steps: tuple[Augment, ...]

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """Augment ``images`` `[N, C, H, W]` by ``key`` `[N]`."""
        moves: list[tuple[Geometry, Tensor]] = []
        for position, step in enumerate(self.steps):
            own = draw(key, position)
            if isinstance(step, Geometry):
                moves.append((step, own))
                continue
            images = step(warp(images, moves) if moves else images, own)
            moves = []
        return warp(images, moves) if moves else images


def standard(dataset: Dataset) -> Compose:
    """The usual augmentation of small images: pad by an eighth and crop; mirror where a mirrored image keeps its class.

    For 32 x 32 this is the padding of 4 of He et al., arXiv 1512.03385, section 4.2.
    """
    crop = PadCrop(max(1, dataset.image_size // 8))
    return Compose((crop, Flip()) if dataset.mirror else (crop,))


def strong(dataset: Dataset) -> Compose:
    """More than `standard`: other colours, and a square of half the width filled with grey.

    The strong view of losses that compare two views of a sample; published codes use a learned policy there
    (AutoAugment, arXiv 1805.09501), which this is not.
    """
    return Compose((standard(dataset), Color(), Cutout(max(1, dataset.image_size // 2), fill=0.5)))


def _factor(key: Tensor, number: int, strength: float) -> Tensor:
    low = max(0.0, 1.0 - strength)
    return (uniform(key, number) * (1.0 + strength - low) + low)[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    channels = images.shape[1]
    weights = (0.299, 0.587, 0.114) if channels == 3 else (1.0 / channels,) * channels
    grey = torch.zeros_like(images[:, 0])
    for weight, channel in zip(weights, images.unbind(1), strict=True):
        grey = grey + weight * channel
    return grey[:, None]


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (images * factor + other * (1 - factor)).clamp(0, 1)
