"""What is in a procedural scene: a furnished room, drawn from one key per scene."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch.data._keys import below, draw, uniform

CLASSES = ("wall", "floor", "ceiling", "ball", "box", "cylinder", "cone")
BALL, BOX, CYLINDER, CONE = range(4)  # the shapes, in the order of their classes
_ROOM = 3  # wall, floor, ceiling: surfaces after those of the objects


@dataclass(frozen=True, eq=False)
class Scene:
    """N scenes in world axes: x right, y down, z into the room; the room is a box around the origin.

    Objects are unit shapes (ball and cylinder of radius 1, box and cylinder from -1 to 1, cone with its apex at
    y = -1) that were stretched, turned and moved. Surfaces are the K objects, then wall, floor and ceiling.

    Attributes:
        eye: place of the camera, shape `[N, 3]`.
        look: camera axes to world axes, shape `[N, 3, 3]`.
        room: half width, half height and half depth, shape `[N, 3]`.
        shape: of each object, `BALL` to `CONE`, int64, shape `[K]`.
        present: which objects are there, shape `[N, K]`.
        centre: of each surface, shape `[N, K + 3, 3]`.
        inward: world directions to the unit shape's, shape `[N, K + 3, 3, 3]`.
        half: half sizes, shape `[N, K + 3, 3]`.
        colours: two of each surface, shape `[N, K + 3, 2, 3]`.
        pattern: which of the textures, int64, shape `[N, K + 3]`.
        frequency, phase: of the texture, per metre, shapes `[N, K + 3]` and `[N, K + 3, 3]`.
        light: place of the lamp, shape `[N, 3]`.
        power, ambient: of the lamp and of what comes from everywhere, shape `[N]`.
    """

    eye: Tensor
    look: Tensor
    room: Tensor
    shape: Tensor
    present: Tensor
    centre: Tensor
    inward: Tensor
    half: Tensor
    colours: Tensor
    pattern: Tensor
    frequency: Tensor
    phase: Tensor
    light: Tensor
    power: Tensor
    ambient: Tensor


def draw_scene(key: Tensor, objects: int = 2) -> Scene:
    """The scenes of these keys.

    Args:
        key: one per scene, int64, shape `[N]`.
        objects: places for objects of each shape; a place is filled with probability 0.75.
    """
    room = _vector(key, 0, (1.8, 1.2, 2.0), (3.2, 1.6, 3.6))
    eye = torch.stack(
        (
            _span(key, 3, -0.5, 0.5) * room[:, 0],
            room[:, 1] - _span(key, 4, 1.2, 1.7),
            _span(key, 5, 0.3, 0.8) - room[:, 2],
        ),
        dim=1,
    )
    yaw = _span(key, 6, -0.35, 0.35)
    look = _rotation(yaw, _span(key, 7, -0.35, 0.09), _span(key, 8, -0.05, 0.05))
    places = 4 * objects
    own = _keys(key, places, 1000)
    shape = torch.arange(4, device=key.device).repeat_interleave(objects)
    half = _half_sizes(own, shape)
    centre, turn = _poses(own, half, eye, yaw, room)
    surfaces = _keys(key, places + _ROOM, 2000)
    ones, none = torch.ones_like(room)[:, None].expand(-1, _ROOM, -1), room.new_zeros(len(key), _ROOM, 3)
    unturned = torch.eye(3, device=key.device).expand(len(key), _ROOM, 3, 3)
    return Scene(
        eye=eye,
        look=look,
        room=room,
        shape=shape,
        present=uniform(own, 0) < 0.75,
        centre=torch.cat((centre, none), dim=1),
        inward=torch.cat((turn.mT / half[..., None], unturned), dim=1),
        half=torch.cat((half, ones), dim=1),
        colours=torch.stack([_vector(surfaces, n, (0.08,) * 3, (0.95,) * 3) for n in (0, 3)], dim=2),
        pattern=below(surfaces, 6, 5),
        frequency=_span(surfaces, 7, 1.2, 4.0),
        phase=_vector(surfaces, 8, (0.0,) * 3, (6.28,) * 3),
        light=_vector(key, 9, (-0.8, -0.95, -0.8), (0.8, -0.5, 0.5)) * room,
        power=_span(key, 12, 1.0, 2.2),
        ambient=_span(key, 13, 0.15, 0.4),
    )


def _half_sizes(own: Tensor, shape: Tensor) -> Tensor:
    """Half sizes `[N, K, 3]`: balls are round in all directions, cylinders and cones seen from above."""
    x, y, z = _vector(own, 1, (0.12, 0.12, 0.12), (0.5, 0.6, 0.5)).unbind(2)
    return torch.stack((x, torch.where(shape == BALL, x, y), torch.where(shape == BOX, z, x)), dim=2)


def _poses(own: Tensor, half: Tensor, eye: Tensor, yaw: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """Centres `[N, K, 3]` and turns `[N, K, 3, 3]`: before the camera, upright on the floor, or askew in the air."""
    ahead = 1.4 + uniform(own, 4) * (1.8 * room[:, 2:] - 1.4)  # [N, K]
    aside = ahead * _span(own, 5, -0.55, 0.55)
    cosine, sine = yaw.cos()[:, None], yaw.sin()[:, None]
    x = eye[:, :1] + ahead * sine + aside * cosine
    z = eye[:, 2:] + ahead * cosine - aside * sine
    floats = uniform(own, 6) < 0.25
    y = torch.where(floats, _span(own, 7, -0.5, 0.5) * room[:, 1:2], room[:, 1:2] - half[..., 1])
    tilt = [torch.where(floats, _span(own, n, -3.14, 3.14), 0.0) for n in (8, 9)]
    return torch.stack((x, y, z), dim=2), _rotation(_span(own, 10, -3.14, 3.14), *tilt)


def _rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Roll about z, then pitch about x (positive: up), then yaw about y (positive: right), shape `[..., 3, 3]`."""
    (cy, sy), (cp, sp), (cr, sr) = ((a.cos(), a.sin()) for a in (yaw, pitch, roll))
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    about_y = _matrix((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
    about_x = _matrix((one, zero, zero), (zero, cp, -sp), (zero, sp, cp))
    about_z = _matrix((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    return _product(about_y, _product(about_x, about_z))


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products in full float32, whatever precision is allowed for those of networks."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def _keys(key: Tensor, count: int, first: int) -> Tensor:
    return torch.stack([draw(key, first + number) for number in range(count)], dim=1)


def _span(key: Tensor, number: int, low: float, high: float) -> Tensor:
    return uniform(key, number) * (high - low) + low


def _vector(key: Tensor, number: int, low: tuple[float, ...], high: tuple[float, ...]) -> Tensor:
    """Independent draws from ``number`` on, one per entry, in a last axis."""
    return torch.stack([_span(key, number + i, a, b) for i, (a, b) in enumerate(zip(low, high, strict=True))], dim=-1)
