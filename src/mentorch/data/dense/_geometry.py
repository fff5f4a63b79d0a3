"""Geometric augmentations as values: each says where pixels go, and one reading of the input does the rest."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._keys import below, uniform
from mentorch.data._numbers import whole
from mentorch.data.dense._placement import Placement


@runtime_checkable
class Geometry(Protocol):
    """An augmentation that moves pixels; what it does to a sample depends on its key alone."""

    def place(self, key: Tensor, size: tuple[int, int]) -> Placement:
        """What it draws for images of this (height, width), by ``key``, int64, shape `[N]`."""
        ...


@dataclass(frozen=True)
class Flip:
    """Mirror left and right, or top and bottom, with a probability; normals are mirrored with the image."""

    probability: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise UsageError(f"Flip: probability must lie in [0, 1], not {self.probability}")

    def place(self, key: Tensor, size: tuple[int, int]) -> Placement:
        sign = torch.where(uniform(key, 0) < self.probability, -1.0, 1.0)
        one = torch.ones_like(sign)
        turn = _stack(((one, 0 * one), (0 * one, sign)) if self.vertical else ((sign, 0 * one), (0 * one, one)))
        return _around_centre(turn, one, size, rescale=False)


@dataclass(frozen=True)
class Rotate:
    """Rotate about the centre by an angle uniform in [-degrees, degrees]; normals turn with the image."""

    degrees: float = 5.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.degrees <= 180.0:
            raise UsageError(f"Rotate: degrees must lie in [0, 180], not {self.degrees}")

    def place(self, key: Tensor, size: tuple[int, int]) -> Placement:
        angle = (2 * uniform(key, 0) - 1) * math.radians(self.degrees)
        cosine, sine = angle.cos(), angle.sin()
        return _around_centre(_stack(((cosine, -sine), (sine, cosine))), torch.ones_like(angle), size, rescale=False)


@dataclass(frozen=True)
class Zoom:
    """Enlarge about the centre by a factor uniform in [low, high].

    With ``rescale`` the camera stays what it is, and an image that is s times larger shows things s times nearer:
    depth is divided by s. A surface of normal n then has the normal of direction (n_x, n_y, s n_z). Without, the focal
    length grows, and the values of depth and normals stay.

    References:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014, arXiv
        1406.2283, section 3.4 (depth).
    """

    low: float = 1.0
    high: float = 1.5
    rescale: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.low <= self.high:
            raise UsageError(f"Zoom: 0 < low <= high is needed, not {self.low} and {self.high}")

    def place(self, key: Tensor, size: tuple[int, int]) -> Placement:
        factor = uniform(key, 0) * (self.high - self.low) + self.low
        one = torch.ones_like(factor)
        turn = _stack(((one, 0 * one), (0 * one, one)))
        return _around_centre(turn, factor, size, rescale=self.rescale)


@dataclass(frozen=True)
class Crop:
    """A part of a given size at a random place, whole pixels.

    ``size`` is a side, or height and width. With ``padding`` it may reach so far beyond the image; larger than the
    image, it lies around it.
    """

    size: int | tuple[int, int]
    padding: int = 0

    def __post_init__(self) -> None:
        if min(both(self.size)) < 1 or self.padding < 0:
            raise UsageError(f"Crop: size must be 1 or more and padding 0 or more, not {self.size} and {self.padding}")

    def place(self, key: Tensor, size: tuple[int, int]) -> Placement:
        target = both(self.size)
        top, left = (self._start(key, axis, size[axis], target[axis]) for axis in (0, 1))
        one, zero = torch.ones_like(top), torch.zeros_like(top)
        source = _stack(((one, zero, left), (zero, one, top), (zero, zero, one)))
        return Placement(source, source[:, :2, :2], one, target)

    def _start(self, key: Tensor, axis: int, whole: int, part: int) -> Tensor:
        first = min(0, whole - part) - self.padding
        last = max(0, whole - part) + self.padding
        return (below(key, axis, last - first + 1) + first).float()


def both(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width from one side or both.

    Raises:
        UsageError: for numbers that are not whole.
    """
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return whole("height", height), whole("width", width)


def _around_centre(turn: Tensor, factor: Tensor, size: tuple[int, int], *, rescale: bool) -> Placement:
    """Output = factor * turn * (input - centre) + centre, written from the output back to the input."""
    back = turn.mT / factor[:, None, None]  # [N, 2, 2]
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    shift = torch.stack((x - back[:, 0, 0] * x - back[:, 0, 1] * y, y - back[:, 1, 0] * x - back[:, 1, 1] * y), dim=1)
    source = torch.eye(3, device=turn.device).repeat(len(turn), 1, 1)
    source[:, :2, :2] = back
    source[:, :2, 2] = shift
    return Placement(source, turn, factor if rescale else torch.ones_like(factor), size)


def _stack(rows: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    """A matrix `[N, R, C]` from entries `[N]`."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
