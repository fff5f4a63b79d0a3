"""Rendering of procedural scenes by analytic ray tracing: exact depth, normals and classes, light and shadow."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import unit
from mentorch.data.dense._camera import Camera
from mentorch.data.dense._geometry import both
from mentorch.data.dense._scene import Scene, draw_scene
from mentorch.data.dense._shapes import local_normal, meet
from mentorch.data.dense._textures import mixture

FIELD = 65.0
"""Degrees that the camera of `scenes` sees across the width of an image."""

_OFF = 1e-3  # metres that shadow rays start above their surface


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where rays meet a scene.

    Attributes:
        distance: in lengths of the ray's direction, shape `[N, P]`.
        surface: which one, int64, shape `[N, P]`.
        point, normal: in world axes, shape `[N, 3, P]`.
        place: on the surface, in metres in its own axes, shape `[N, 3, P]`.
    """

    distance: Tensor
    surface: Tensor
    point: Tensor
    normal: Tensor
    place: Tensor


def render(
    key: Tensor,
    size: int | tuple[int, int],
    *,
    camera: Camera | None = None,
    samples: int = 2,
    objects: int = 2,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures of the scenes of these keys, with exact targets, on the device of the keys.

    Each key is a room with balls, boxes, cylinders and cones, standing or askew in the air, textured, seen by a camera
    at eye height under one lamp, with highlights and hard shadows. A target is that of the middle of the pixel.

    Args:
        key: one per scene, int64, shape `[N]` (`mentorch.data.sample_keys`).
        size: side of the pictures, or height and width.
        camera: by default square pixels and 65 degrees across the width.
        samples: rays per pixel and axis, averaged to its colour.
        objects: places for objects of each of the four shapes.

    Returns:
        uint8 images `[N, 3, H, W]`, and targets ``segmentation`` (uint8 `[N, H, W]`, numbers of `scenes`' classes),
        ``depth`` (`[N, 1, H, W]`, metres) and ``normals`` (`[N, 3, H, W]`).

    Raises:
        UsageError: if a size or number is below one.
    """
    shape = both(size)
    if min(*shape, samples, objects) < 1:
        raise UsageError(f"render: size, samples and objects must be 1 or more, not {size}, {samples} and {objects}")
    camera = camera or Camera.of(FIELD, shape)
    scene = draw_scene(key, objects)
    fine = (shape[0] * samples, shape[1] * samples)
    rays = _rays(scene, camera.resized(samples, samples), fine)
    colours = _colours(scene, rays, _trace(scene, rays)).view(len(key), 3, *fine)
    images = torch.nn.functional.avg_pool2d(colours, samples).clamp(0, 1).mul(255).round().to(torch.uint8)
    return images, _targets(scene, camera, shape)


def _targets(scene: Scene, camera: Camera, shape: tuple[int, int]) -> dict[str, Tensor]:
    hits = _trace(scene, _rays(scene, camera, shape))
    classes = torch.cat((scene.shape + 3, torch.arange(3, device=scene.shape.device))).to(torch.uint8)
    normals = unit(_turned(scene.look.mT, hits.normal), dim=1)
    count = len(scene.eye)
    return {
        "segmentation": classes[hits.surface].view(count, *shape),
        "depth": hits.distance.view(count, 1, *shape),
        "normals": normals.view(count, 3, *shape),
    }


def _rays(scene: Scene, camera: Camera, size: tuple[int, int]) -> Tensor:
    """Directions in world axes, shape `[N, 3, H W]`, as long as one metre of depth: distances along them are depth."""
    rays = camera.rays(size, scene.eye.device).flatten(1)
    return _turned(scene.look, rays[None].expand(len(scene.eye), -1, -1))


def _trace(scene: Scene, rays: Tensor) -> _Hits:
    eye = scene.eye[:, :, None]
    distance, surface = _objects(scene, eye, rays).min(1)
    face = (torch.where(rays > 0, 1.0, -1.0) * scene.room[:, :, None] - eye) / _not_zero(rays)  # [N, 3, P]
    wall, axis = face.min(1)
    inside = wall < distance
    floor = (axis == 1) * torch.where(rays[:, 1] > 0, 1, 2)  # wall, floor, ceiling: 0, 1, 2
    surface = torch.where(inside, len(scene.shape) + floor, surface)
    distance = torch.where(inside, wall, distance)
    point = eye + rays * distance[:, None]
    inward = _pick(scene.inward.flatten(2), surface).view(len(point), 3, 3, -1)  # [N, 3, 3, P]
    local = (inward * (point - _pick(scene.centre, surface))[:, None]).sum(2)
    shape = torch.cat((scene.shape, scene.shape.new_zeros(3)))[surface]
    normal = (inward * local_normal(local, shape)[:, :, None]).sum(1)
    room = -torch.sign(rays) * torch.nn.functional.one_hot(axis, 3).mT
    normal = torch.where(inside[:, None], room, unit(normal, dim=1))
    return _Hits(distance, surface, point, normal, local * _pick(scene.half, surface))


def _objects(scene: Scene, origin: Tensor, direction: Tensor) -> Tensor:
    """Distance to each object along each ray, infinite where it is missed or not there, shape `[N, K, P]`."""
    count = len(scene.shape)
    inward = scene.inward[:, :count]
    start = _turned(inward, origin[:, None] - scene.centre[:, :count, :, None])
    along = _turned(inward, direction[:, None])
    pairs = zip(start.chunk(4, dim=1), along.chunk(4, dim=1), strict=True)  # equally many of each shape, in order
    parts = [meet(shape, *pair) for shape, pair in enumerate(pairs)]
    return torch.cat(parts, dim=1).masked_fill(~scene.present[:, :, None], math.inf)


def _colours(scene: Scene, rays: Tensor, hits: _Hits) -> Tensor:
    """Light of a lamp (Lambert, Blinn and Phong) with hard shadows, plus what comes from everywhere, `[N, 3, P]`."""
    colours = _pick(scene.colours.flatten(2), hits.surface).view(len(rays), 2, 3, -1)  # [N, 2, 3, P]
    share = mixture(
        hits.place * _pick(scene.frequency[..., None], hits.surface) + _pick(scene.phase, hits.surface),
        _pick(scene.pattern[..., None], hits.surface)[:, 0],
    )[:, None]
    albedo = colours[:, 0] * (1 - share) + colours[:, 1] * share
    start = hits.point + _OFF * hits.normal
    way = scene.light[:, :, None] - start
    shadow = (_objects(scene, start, way).amin(1) < 1)[:, None]
    falling = unit(way, dim=1)
    lamp = scene.power[:, None, None] / (1 + way.square().sum(1, keepdim=True) / 8) * ~shadow
    facing = (falling * hits.normal).sum(1, keepdim=True).clamp(min=0)
    halfway = unit(falling - unit(rays, dim=1), dim=1)
    shine = (halfway * hits.normal).sum(1, keepdim=True).clamp(min=0).pow(40) * (facing > 0)
    light = albedo * (scene.ambient[:, None, None] + lamp * facing) + 0.25 * lamp * shine
    return light.clamp(0, 1).pow(1 / 2.2)


def _turned(matrix: Tensor, vectors: Tensor) -> Tensor:
    """``matrix`` `[..., 3, 3]` times ``vectors`` `[..., 3, P]`, in full float32 on every device."""
    first, second, third = (matrix[..., :, i : i + 1] * vectors[..., i : i + 1, :] for i in range(3))
    return torch.as_tensor(first + second + third)


def _pick(table: Tensor, surface: Tensor) -> Tensor:
    """Rows of ``table`` `[N, S, C]` by number `[N, P]`, shape `[N, C, P]`."""
    return table.mT.gather(2, surface[:, None].expand(-1, table.shape[2], -1))


def _not_zero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-9, 1e-9, x)
