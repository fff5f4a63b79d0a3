"""Augmentation of images and their targets by one draw, and resizing by the rules of each target."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import unit
from mentorch.data import _geometry
from mentorch.data._augment import Augment, Color, Compose
from mentorch.data._dataset import to_float
from mentorch.data._keys import draw
from mentorch.data.dense._geometry import Flip, Geometry, Rotate, Zoom, both
from mentorch.data.dense._placement import Placement
from mentorch.data.dense._split import KINDS


@dataclass(frozen=True)
class ImagesOnly:
    """An augmentation of `mentorch.data` that leaves pixels in their places, such as ``Color()`` or ``Cutout(8)``."""

    augment: Augment

    def __post_init__(self) -> None:
        if _moves(self.augment):
            raise UsageError(
                f"ImagesOnly: {self.augment!r} moves pixels, and targets would stay: "
                "use dense.Flip, Rotate, Zoom or Crop as a step of Together"
            )


@dataclass(frozen=True)
class Resize:
    """The same view on another number of pixels: the camera's numbers change, depth and normals keep their values."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        if min(both(self.size)) < 1:
            raise UsageError(f"Resize: size must be 1 or more, not {self.size}")


@dataclass(frozen=True)
class Together:
    """Steps in order, each drawn once per sample and applied to the image and all targets.

    Geometric steps that follow each other are one reading of the input, so nothing is blurred twice.

    Attributes:
        steps: `Flip`, `Rotate`, `Zoom`, `Crop`, `Resize`, and `ImagesOnly(...)`.

    >>> import torch
    >>> from mentorch.data import sample_keys
    >>> augment = Together((Flip(1.0),))
    >>> normals = torch.tensor([0.6, 0.0, -0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    >>> key = sample_keys(0, 0, torch.arange(1))
    >>> images, targets = augment.together(torch.ones(1, 3, 4, 4), {"normals": normals}, key)
    >>> targets["normals"][0, :, 0, 0]
    tensor([-0.6000,  0.0000, -0.8000])
    """

    steps: tuple[Geometry | ImagesOnly | Resize, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            if not isinstance(step, Geometry | ImagesOnly | Resize):
                use = (
                    "dense.Flip, Rotate, Zoom or Crop"
                    if _moves(step)
                    else "its own steps, or ImagesOnly(...) around it"
                )
                raise UsageError(f"{step!r} is no step of Together: use {use}")

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """The images alone, as they are beside their targets."""
        return self.together(images, {}, key)[0]

    def together(self, images: Tensor, targets: Mapping[str, Tensor], key: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images `[N, C, H, W]` and targets, augmented alike by ``key``, int64, shape `[N]`.

        Returns:
            Floating-point images in [0, 1], and the targets.
        """
        images, targets = to_float(images), dict(targets)
        waiting: Placement | None = None
        for position, step in enumerate(self.steps):
            own = draw(key, position)
            if isinstance(step, Geometry):
                size = waiting.size if waiting else (images.shape[2], images.shape[3])
                placed = step.place(own, size)
                waiting = waiting.then(placed) if waiting else placed
                continue
            if waiting:
                images, targets, waiting = waiting.image(images), waiting.targets(targets), None
            if isinstance(step, Resize):
                images, targets = resize(images, targets, step.size)
            else:
                images = step.augment(images, own)
        return (waiting.image(images), waiting.targets(targets)) if waiting else (images, targets)


def _moves(augment: object) -> bool:
    """Whether an augmentation moves pixels, of images alone or with targets."""
    if isinstance(augment, Compose | Together):
        return any(map(_moves, augment.steps))
    return isinstance(augment, _geometry.Geometry | Geometry | Resize)


def standard() -> Together:
    """The usual augmentation of indoor depth: mirror, rotate by up to 5 degrees, zoom by 1 to 1.5, change colours.

    Eigen et al., NIPS 2014, arXiv 1406.2283, section 3.4, with a colour change of our own.
    """
    return Together((Flip(), Rotate(5.0), Zoom(1.0, 1.5), ImagesOnly(Color(0.2, 0.2, 0.2))))


def resize(
    images: Tensor, targets: Mapping[str, Tensor], size: int | tuple[int, int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same view on another number of pixels: images bilinear and antialiased, normals bilinear, the rest nearest.

    Args:
        images: shape `[N, C, H, W]`; uint8 stays uint8.
        targets: any of the targets of a `DenseSplit`.
        size: side, or height and width.

    Raises:
        UsageError: for a target of unknown kind.
    """
    shape = both(size)
    if tuple(images.shape[2:]) == shape:
        return images, dict(targets)
    pictures = F.interpolate(to_float(images), shape, mode="bilinear", antialias=True).clamp(0, 1)
    if not images.is_floating_point():
        pictures = (pictures * 255).round().to(images.dtype)
    return pictures, {name: _resized(name, values, shape) for name, values in targets.items()}


def _resized(name: str, values: Tensor, size: tuple[int, int]) -> Tensor:
    if name not in KINDS:
        raise unknown("target", name, KINDS)
    if name == "normals":
        # the zero vector of unknown pixels weighs nothing in the sum
        mixed = unit(F.interpolate(values, size, mode="bilinear", antialias=True), dim=1)
        known = F.interpolate((values != 0).any(1, keepdim=True).float(), size, mode="nearest-exact")
        return mixed * (known > 0)
    flat = values[:, None] if name == "segmentation" else values
    found = F.interpolate(flat.float(), size, mode="nearest-exact").to(values.dtype)
    return found[:, 0] if name == "segmentation" else found
