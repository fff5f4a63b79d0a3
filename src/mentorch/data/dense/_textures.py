"""Solid textures: what share of its second colour a surface shows at a place."""

import torch
from torch import Tensor


def mixture(place: Tensor, pattern: Tensor) -> Tensor:
    """The share in [0, 1] of the second colour.

    Args:
        place: in the axes of the surface, in units of the texture, shape `[N, 3, P]`.
        pattern: 0 plain, 1 checks, 2 stripes, 3 dots, 4 veins, int64, shape `[N, P]`.

    Returns:
        Shape `[N, P]`.
    """
    x, y, z = place.unbind(1)
    checks = place.floor().sum(1).remainder(2)
    stripes = ((x + 0.6 * y + 0.8 * z).remainder(1) < 0.5).float()
    dots = ((place.remainder(1) - 0.5).square().sum(1) < 0.14).float()
    bent = (2.1 * x + 1.3 * z).sin() + (1.7 * y - 1.1 * x).sin() + 0.5 * (4.3 * z + 3.7 * y).sin()
    veins = 0.5 + 0.5 * (3 * (x + y + z) + 2 * bent).sin()
    share = torch.zeros_like(x)
    for number, candidate in enumerate((checks, stripes, dots, veins), start=1):
        share = torch.where(pattern == number, candidate, share)
    return share
