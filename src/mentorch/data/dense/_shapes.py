"""Where rays meet the four unit shapes, and their normals there."""

import math

import torch
from torch import Tensor

from mentorch.data.dense._scene import BALL, BOX, CONE, CYLINDER

_NEAR = 1e-4  # distances below are where the ray starts


def meet(shape: int, start: Tensor, along: Tensor) -> Tensor:
    """Distance, in lengths of ``along``, at which rays enter a unit shape; infinite where they miss it.

    Args:
        shape: `BALL`, `BOX`, `CYLINDER` (along y) or `CONE` (apex at y = -1, base at y = 1).
        start: in the axes of the shape, outside of it, shape `[..., 3, P]` or `[..., 3, 1]`.
        along: direction, shape `[..., 3, P]`.

    Returns:
        Shape `[..., P]`.
    """
    if shape == CONE:
        return _meet_cone(start, along)
    if shape == BALL:
        first, last = _quadratic(along.square().sum(-2), (start * along).sum(-2), start.square().sum(-2) - 1)
    elif shape == BOX:
        near, far = _between(start, along)
        first, last = near.amax(-2), far.amin(-2)
    else:
        ring, way = start[..., ::2, :], along[..., ::2, :]  # x and z
        near, far = _quadratic(way.square().sum(-2), (ring * way).sum(-2), ring.square().sum(-2) - 1)
        bottom, top = _between(start[..., 1, :], along[..., 1, :])
        first, last = torch.maximum(near, bottom), torch.minimum(far, top)
    return torch.where((first < last) & (first > _NEAR), first, math.inf)


def local_normal(point: Tensor, shape: Tensor) -> Tensor:
    """Outward normals, of any length, of unit shapes at points on them.

    Args:
        point: shape `[N, 3, P]`.
        shape: which one, int64, shape `[N, P]`.

    Returns:
        Shape `[N, 3, P]`.
    """
    x, y, z = point.unbind(1)
    radius = (x * x + z * z).sqrt()
    none = torch.zeros_like(x)
    cap = torch.stack((none, torch.sign(y), none), dim=1)
    box = torch.sign(point) * (point.abs() == point.abs().amax(1, keepdim=True))
    cylinder = torch.where((y.abs() > radius)[:, None], cap, torch.stack((x, none, z), dim=1))
    side = (y + 1) / 2
    slope = torch.stack((x, -side / 2, z), dim=1)
    cone = torch.where((1 - y < (radius - side).abs())[:, None], cap, slope)
    normal = point
    for number, candidate in ((BOX, box), (CYLINDER, cylinder), (CONE, cone)):
        normal = torch.where((shape == number)[:, None], candidate, normal)
    return normal


def _quadratic(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of a t^2 + 2 b t + c, smaller first for a > 0; NaN, which no comparison accepts, where there are none."""
    root = (b * b - a * c).sqrt()
    a = torch.where(a.abs() < 1e-12, 1e-12, a)
    return (-b - root) / a, (-b + root) / a


def _between(start: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the slabs from -1 to 1."""
    along = torch.where(along.abs() < 1e-9, 1e-9, along)
    low, high = (-1 - start) / along, (1 - start) / along
    return torch.minimum(low, high), torch.maximum(low, high)


def _meet_cone(start: Tensor, along: Tensor) -> Tensor:
    """A cone with its mirror image is x^2 + z^2 = (y + 1)^2 / 4; only y in [-1, 1] counts. Its base is a disc."""
    (x, y, z), (dx, dy, dz) = start.unbind(-2), along.unbind(-2)
    a = dx * dx + dz * dz - dy * dy / 4
    b = x * dx + z * dz - (y + 1) * dy / 4
    c = x * x + z * z - (y + 1).square() / 4
    found = torch.full_like(a, math.inf)
    for root in _quadratic(a, b, c):
        counts = ((y + root * dy).abs() <= 1) & (root > _NEAR)
        found = torch.where(counts & (root < found), root, found)
    base = (1 - y) / torch.where(dy.abs() < 1e-9, 1e-9, dy)
    on_disc = (x + base * dx).square() + (z + base * dz).square() <= 1
    return torch.where(on_disc & (base > _NEAR) & (base < found), base, found)
