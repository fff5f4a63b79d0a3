"""Flow of solution procedure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import align, full_precision, products, squared_error
from mentorch.losses._info import LossInfo


def fsp(student: Sequence[Tensor], *teachers: Tensor, pooling: Literal["average", "max"] = "average") -> Tensor:
    r"""Difference of how each map turns into the next (flow of solution procedure).

    .. math:: G(F, F')_{ij} = \frac{1}{HW} \sum_{hw} F_{ihw} F'_{jhw}, \quad
        \ell_b = \sum_l mean_{ij} (G(F_s^l, F_s^{l+1}) - G(F_t^l, F_t^{l+1}))_{ij}^2

    One edge with two or more maps on each side, shallow to deep; the larger map of each consecutive pair is pooled down
    to the smaller. The sides may differ in height and width, not in channels. Kind ``sample``. Published: alone, for 30
    epochs, weight 1, before an ordinary training without it (CIFAR-100).

    Args:
        student: L >= 2 maps, shapes ``[N, C_l, H_l, W_l]``.
        teachers: as many maps, shapes ``[N, C_l, I_l, J_l]``; no gradient reaches them.
        pooling: ``average``, as in RepDistiller, or ``max``, as in torchdistill (which then adds up the lengths of the
            columns of the difference, without squares).

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: for fewer than two maps, another number of maps on the other side, maps whose batches or channels
            differ, or an unknown pooling.

    References:
        Yim et al., "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning",
            CVPR 2017 (not on arXiv), equation 1 for G; the difference as RepDistiller computes it.

    >>> import torch
    >>> first, second = torch.ones(1, 2, 4, 4), torch.ones(1, 3, 2, 2)
    >>> fsp((first, second), first, second), fsp((first, second), first, 3 * second)
    (tensor([0.]), tensor([4.]))
    """
    if pooling not in ("average", "max"):
        raise unknown("pooling of fsp", pooling, ("average", "max"))
    _check(student, teachers)
    students, teachers = full_precision(*student), full_precision(*(teacher.detach() for teacher in teachers))
    terms = [
        squared_error(_flow(*s, pooling), _flow(*t, pooling))
        for s, t in zip(pairwise(students), pairwise(teachers), strict=True)
    ]
    return sum(terms[1:], terms[0])


def _flow(a: Tensor, b: Tensor, pooling: str) -> Tensor:
    """Products of the channels of two maps, averaged over cells, shape ``[N, C, D]``."""
    a, b = align(a, b, pool=F.adaptive_max_pool2d if pooling == "max" else F.adaptive_avg_pool2d)
    return products(a.flatten(2), b.flatten(2)) / a[0, 0].numel()


def _check(student: Sequence[Tensor], teachers: tuple[Tensor, ...]) -> None:
    if isinstance(student, Tensor) or len(student) < 2 or len(student) != len(teachers):
        have = 1 if isinstance(student, Tensor) else len(student)
        raise UsageError(
            f"fsp: compares consecutive maps, so an edge needs two or more on each side, got {have} and {len(teachers)}"
        )
    for s, t in zip(student, teachers, strict=True):
        if s.ndim != 4 or t.ndim != 4 or s.shape[:2] != t.shape[:2]:
            raise UsageError(
                f"fsp: needs maps [N, C, H, W] with the same channels on both sides, got {list(s.shape)} and "
                f"{list(t.shape)}: tap others, or compare with nst"
            )


INFO = (
    LossInfo(
        fsp,
        reads="all_stages",
        kind="sample",
        weight=1.0,
        summary="how each stage's map turns into the next; needs equal channels",
        paper="Yim et al., CVPR 2017 (not on arXiv)",
    ),
)
