"""Targets as colours."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch.data.dense._split import IGNORE

Colour = tuple[int, int, int]
VOID: Colour = (224, 224, 192)
"""Of pixels whose class is unknown."""
# near to far: five colours of viridis (van der Walt and Smith, CC0), whose brightness falls evenly
_DEPTHS: tuple[Colour, ...] = ((253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (68, 1, 84))


def paint(kind: str, values: Tensor, *, near: float = 1.0, far: float = 10.0) -> Tensor:
    """Values of a target, or what a network says of it, as colours.

    Classes have the colours of PASCAL VOC; depth is on a scale of its logarithm, yellow near and violet far; normals
    are red to the right, green upwards and blue to the viewer. Unknown depth and normals are black.

    >>> paint("segmentation", torch.tensor([[[0, 1, 255]]]))[0, :, 0].T.tolist()
    [[0, 0, 0], [128, 0, 0], [224, 224, 192]]

    Args:
        kind: ``segmentation``, ``depth``, ``normals``, or ``images``.
        values: classes `[N, H, W]` or logits `[N, K, H, W]`; metres `[N, 1, H, W]`; vectors `[N, 3, H, W]` of any
            length; images `[N, C, H, W]`, uint8 or in [0, 1].
        near, far: metres at the ends of the scale of depth; what is beyond them has their colours.

    Returns:
        uint8, shape `[N, 3, H, W]`.

    Raises:
        UsageError: for an unknown kind, or a scale that does not grow.
    """
    if kind == "segmentation":
        return _classes(values.argmax(1) if values.ndim == 4 else values)
    if kind == "depth":
        return _depth(values, near, far)
    if kind == "normals":
        known = (values != 0).any(1, keepdim=True) & values.isfinite().all(1, keepdim=True)
        axes = torch.tensor([1.0, -1.0, -1.0], device=values.device).view(1, 3, 1, 1)
        unit = F.normalize(torch.where(known, values.float(), 0.0), dim=1) * axes
        return (((unit + 1) * 127.5).round() * known).byte()
    if kind == "images":
        whole = values.expand(-1, 3, -1, -1) if values.shape[1] == 1 else values[:, :3]
        return (whole.clamp(0, 1) * 255).round().byte() if whole.is_floating_point() else whole
    raise unknown("kind of picture", kind, ("segmentation", "depth", "normals", "images"))


def class_colours(count: int) -> list[Colour]:
    """The colours of classes: the bits of a number, spread over red, green and blue from the highest down.

    >>> class_colours(4)
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    return [_bits(number) for number in range(count)]


def _bits(number: int) -> Colour:
    colour = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            colour[channel] |= (number >> channel & 1) << (7 - place)
        number >>= 3
    return colour[0], colour[1], colour[2]


def _classes(labels: Tensor) -> Tensor:
    table = torch.tensor([*class_colours(IGNORE), VOID], dtype=torch.uint8, device=labels.device)
    return table[labels.long().clamp(0, IGNORE)].movedim(-1, 1)


def _depth(metres: Tensor, near: float, far: float) -> Tensor:
    if not 0 < near < far:
        raise UsageError(f"a scale of depth needs 0 < near < far, not {near} and {far}")
    known = metres.isfinite() & (metres > 0)
    scale = torch.tensor([near, far], device=metres.device).log()
    place = (torch.where(known, metres.float(), near).log() - scale[0]) / (scale[1] - scale[0])
    return (shade(place[:, 0].clamp(0, 1), _DEPTHS) * known).byte()


def shade(place: Tensor, colours: Sequence[Colour] = _DEPTHS) -> Tensor:
    """Colours between those given, `[N, 3, H, W]` in [0, 255], from places in [0, 1], `[N, H, W]`."""
    table = torch.tensor(colours, device=place.device).float()  # [S, 3]
    first = (place * (len(colours) - 1)).floor().clamp(max=len(colours) - 2)
    share = (place * (len(colours) - 1) - first)[..., None]
    mixed = torch.lerp(table[first.long()], table[first.long() + 1], share)
    return mixed.movedim(-1, 1).round()
