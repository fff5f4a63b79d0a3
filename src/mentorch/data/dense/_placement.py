"""Where pixels go, for images and for what depth and normals become there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import unknown
from mentorch._math import unit
from mentorch.data.dense import _sampling
from mentorch.data.dense._camera import Camera
from mentorch.data.dense._split import KINDS


@dataclass(frozen=True, eq=False)
class Placement:
    """A similarity of the image plane for each sample: what geometric steps drew, for images and targets alike.

    Attributes:
        source: position in the input of a position (column, row, 1) in the output, shape `[N, 3, 3]`.
        turn: what becomes of directions in the image plane, a rotation or reflection, shape `[N, 2, 2]`.
        zoom: how many times nearer things appear, shape `[N]`; depth is divided by it.
        size: (height, width) of the output.
    """

    source: Tensor
    turn: Tensor
    zoom: Tensor
    size: tuple[int, int]

    def then(self, other: "Placement") -> "Placement":
        """This one and then another, as one."""
        source, turn = _product(self.source, other.source), _product(other.turn, self.turn)
        return Placement(source, turn, self.zoom * other.zoom, other.size)

    def inverse(self, size: tuple[int, int]) -> "Placement":
        """The way back to an input of this size."""
        return Placement(torch.linalg.inv(self.source), self.turn.mT, 1 / self.zoom, size)

    def image(self, images: Tensor) -> Tensor:
        """The images `[N, C, H, W]` in their new places, floating point, black where nothing was."""
        return _sampling.sample_image(images, self._positions(images.device))

    def targets(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The targets in their new places, with the values that they have there.

        Raises:
            UsageError: for a target of unknown kind.
        """
        return {name: self._target(name, values) for name, values in targets.items()}

    def moved(self, camera: Camera) -> tuple[Camera, ...]:
        """The camera under which depth and normals of each sample belong together afterwards.

        The principal point moves with the image. The focal length stays where depth was divided by the zoom, and
        grows where the image was enlarged without that.
        """
        forward = torch.linalg.inv(self.source)
        scale = forward[:, :2, :2].det().abs().sqrt() / self.zoom
        centre = (forward[:, :2, :2] * forward.new_tensor((camera.cx, camera.cy))).sum(2) + forward[:, :2, 2]
        return tuple(
            Camera(camera.fx * s, camera.fy * s, x, y)
            for s, (x, y) in zip(scale.tolist(), centre.tolist(), strict=True)
        )

    def _target(self, name: str, values: Tensor) -> Tensor:
        at = self._positions(values.device)
        if name == "segmentation":
            return _sampling.sample_segmentation(values, at)
        if name == "mask":
            return _sampling.sample_mask(values, at)
        if name == "depth":
            return _sampling.sample_depth(values, at) / self.zoom[:, None, None, None]
        if name == "normals":
            return self._turned(_sampling.sample_normals(values, at))
        raise unknown("target", name, KINDS)

    def _turned(self, normals: Tensor) -> Tensor:
        """Normals of the new surface: 1 / z = a x + b y + c becomes s / z, at x and y that are s times larger."""
        x, y, z = normals.unbind(1)
        (xx, xy), (yx, yy) = ([c[:, None, None] for c in row.unbind(1)] for row in self.turn.unbind(1))
        turned = torch.stack((xx * x + xy * y, yx * x + yy * y, z * self.zoom[:, None, None]), dim=1)
        return unit(turned, dim=1)

    def _positions(self, device: torch.device) -> _sampling.Positions:
        rows, columns = (torch.arange(n, dtype=torch.float32, device=device) for n in self.size)
        (a, b, c), (d, e, f) = ([v[:, None, None] for v in row.unbind(1)] for row in self.source[:, :2].unbind(1))
        x, y = columns[None, None], rows[None, :, None]
        return _sampling.Positions(a * x + b * y + c, d * x + e * y + f)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products without reduced precision: positions need all the bits of float32."""
    return (a[:, :, :, None] * b[:, None]).sum(2)
