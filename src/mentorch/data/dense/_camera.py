"""The pinhole camera, and what depth says about surfaces under it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import unit

# a neighbour whose inverse depth differs by this share per pixel of distance has a quarter of the weight
_SHARE = 0.05
_FLAT = 1e-4  # least determinant of the scatter of the weighted neighbours: below, they lie on a line


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: the point (x, y, z) is seen in column ``fx x / z + cx`` and row ``fy y / z + cy``.

    x points right, y down, z away from the camera, as columns and rows do; the centre of the first pixel is (0, 0).
    Depth is z, in metres. Surface normals are unit vectors in the same axes and point towards the camera's side of
    the surface, so that a wall seen from the front has the normal (0, 0, -1).

    >>> Camera.of(90.0, (3, 5))
    Camera(fx=2.5, fy=2.5, cx=2.0, cy=1.0)
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of(cls, field: float, size: tuple[int, int]) -> "Camera":
        """Square pixels and a field of view of so many degrees across the width of a (height, width) image."""
        height, width = size
        focal = width / (2 * math.tan(math.radians(field) / 2))
        return cls(round(focal, 9), round(focal, 9), (width - 1) / 2, (height - 1) / 2)

    def resized(self, factor_y: float, factor_x: float) -> "Camera":
        """The camera of the same view on another number of pixels."""
        return Camera(
            self.fx * factor_x,
            self.fy * factor_y,
            (self.cx + 0.5) * factor_x - 0.5,
            (self.cy + 0.5) * factor_y - 0.5,
        )

    def cropped(self, top: float, left: float) -> "Camera":
        """The camera of the part of the view that begins at this row and column."""
        return Camera(self.fx, self.fy, self.cx - left, self.cy - top)

    def rays(self, size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """The point at depth 1 that each pixel of a (height, width) image sees, shape `[3, H, W]`, float32."""
        rows, columns = (torch.arange(n, dtype=torch.float32, device=device) for n in size)
        y, x = torch.meshgrid((rows - self.cy) / self.fy, (columns - self.cx) / self.fx, indexing="ij")
        return torch.stack((x, y, torch.ones_like(x)))


def normals_from_depth(depth: Tensor, camera: Camera, *, window: int = 3) -> Tensor:
    r"""Surface normals of a depth map.

    A plane obeys :math:`1 / z = a \hat x + b \hat y + c` with the rays :math:`(\hat x, \hat y, 1)` of the camera, and
    (a, b, c) is its normal up to length. It is fitted at every pixel by weighted least squares over a window; with
    :math:`r = 1/z` and the distance d in pixels,

    .. math:: w_j = (1 + ((r_j - r_0) / (0.05 \, d_j \, r_0))^2)^{-2}

    keeps other surfaces out. On planes the result is exact, whatever the weights.

    Args:
        depth: metres, 0 or not finite where unknown, shape `[N, 1, H, W]`.
        camera: that saw it.
        window: side of the window, odd; larger for noisy depth.

    Returns:
        Unit vectors towards the camera, zero where depth is unknown or has too few neighbours, shape `[N, 3, H, W]`.

    Raises:
        UsageError: for another shape, or a window that is even or below 3.
    """
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise UsageError(f"normals_from_depth needs depth [N, 1, H, W], not {list(depth.shape)}")
    if window < 3 or window % 2 == 0:
        raise UsageError(f"normals_from_depth: window must be odd and at least 3, not {window}")
    known = depth.isfinite() & (depth > 0)
    inverse = torch.where(known, 1 / torch.where(known, depth, 1.0), 0.0)  # [N, 1, H, W]
    level, right, down = slopes(inverse, window // 2)
    rays = camera.rays((depth.shape[2], depth.shape[3]), depth.device).to(depth.dtype)[:, None]  # [3, 1, H, W]
    a, b = right * camera.fx, down * camera.fy
    normals = -torch.cat((a, b, level - a * rays[0] - b * rays[1]), dim=1)
    return unit(normals, dim=1) * known


def slopes(inverse: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """The plane fitted to the inverse depth around each pixel, by the weights of `normals_from_depth`.

    Args:
        inverse: 0 where unknown, shape `[N, 1, H, W]`.
        reach: pixels to each side.

    Returns:
        Its value at the pixel, and its slopes per column and per row, as shares of the pixel's own value; all 0 where
        it is unknown or has too few neighbours. Same shapes.
    """
    height, width = inverse.shape[2:]
    padded = F.pad(inverse, (reach, reach, reach, reach))
    sums = inverse.new_zeros(9, *inverse.shape)
    scale = torch.where(inverse > 0, inverse, 1.0)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            there = padded[:, :, reach + down :, reach + right :][:, :, :height, :width]
            change = (there - inverse) / scale
            weight = (1 + (change / (_SHARE * max(abs(down), abs(right), 1))).square()).pow(-2) * (there > 0)
            terms = (1.0, right, down, right * right, right * down, down * down)
            for number, term in enumerate(terms):
                sums[number] += weight * term
            for number, term in enumerate(terms[:3], start=6):
                sums[number] += weight * term * change
    total = sums[0].clamp(min=1.0)  # the pixel itself has weight 1 where depth is known
    mx, my, xx, xy, yy, mr, xr, yr = (moment / total for moment in sums[1:])
    xx, xy, yy, xr, yr = xx - mx * mx, xy - mx * my, yy - my * my, xr - mx * mr, yr - my * mr
    determinant = xx * yy - xy * xy
    flat = determinant < _FLAT
    determinant = torch.where(flat, 1.0, determinant)
    right_slope, down_slope = (xr * yy - yr * xy) / determinant, (yr * xx - xr * xy) / determinant
    level = 1 + mr - right_slope * mx - down_slope * my
    zero = torch.zeros_like(level)
    right_slope, down_slope, level = (torch.where(flat, zero, x) for x in (right_slope, down_slope, level))
    return level, right_slope, down_slope
