"""Singular vectors of feature maps."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import align, full_precision, unit
from mentorch.losses._info import LossInfo

_GAP = 1e-5  # eigenvalues of a map of length 1 that are nearer than this count as one


def svd(
    student: Sequence[Tensor], *teachers: Tensor, rank: int = 1, vectors: Literal["channels", "width"] = "channels"
) -> Tensor:
    r"""Difference of how the main singular vectors of one map relate to those of the next (singular-vector matching).

    A map is a matrix X, and v its right singular vectors: of the teacher the first ``rank`` k; of the student, out of
    its first k + 3, the one nearest to each, with its sign; both times the teacher's singular values scaled to length
    1.

    .. math:: R^l_{ijm} = \exp(-(v^l_{im} - v^{l-1}_{jm})^2 / 8), \quad
        \ell_b = \sum_{l > 1} \sum_{ijm} (R^l_s - R^l_t)_{ijm}^2

    One edge with two or more maps on each side, shallow to deep; the larger map of a pair is averaged down to the
    smaller. Kind ``sample``. Published: all stages, k = 1, weight 1 (mdistiller, ``vectors="width"``) or 10.

    Differs from the released code where that is not defined: a teacher's vector points to where its entries sum to
    more than 0 (there: wherever the solver left it), and gradients of vectors whose singular values (almost) coincide
    are damped instead of infinite; so sparse and empty maps are harmless. What is decomposed is the product of X with
    itself, so that in float32 vectors of singular values below a thousandth of the largest are rounding. On a GPU the
    decomposition waits for the device.

    Args:
        student: L >= 2 maps, shapes ``[N, C_l, H_l, W_l]``.
        teachers: as many maps, shapes ``[N, D_l, I_l, J_l]``; no gradient reaches them.
        rank: k >= 1, how many vectors are compared.
        vectors: ``channels``: X is ``[HW, C]``, so both sides need the same channels (the paper, RepDistiller);
            ``width``: X is ``[CH, W]``, so channels may differ (mdistiller).

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: for fewer than two maps, another number on the other side, maps that do not compare, a rank that is
            not positive or above that of a map, or unknown vectors.

    References:
        Lee, Kim, Song, "Self-supervised Knowledge Distillation Using Singular Value Decomposition", ECCV 2018,
            arXiv 1807.06819.

    >>> a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)
    >>> bool((svd((a, b), a, b) < 1e-6).all())
    True
    """
    if vectors not in ("channels", "width"):
        raise unknown("vectors of svd", vectors, ("channels", "width"))
    if rank < 1:
        raise UsageError(f"svd: the rank must be at least 1, not {rank}")
    _check(student, teachers, vectors)
    teachers = full_precision(*(teacher.detach() for teacher in teachers))
    with torch.autocast(teachers[0].device.type, enabled=False):
        stages = [_stage(*align(s, t), rank, vectors) for s, t in zip(full_precision(*student), teachers, strict=True)]
        terms = [
            (_relation(s, before_s) - _relation(t, before_t)).square().flatten(1).sum(1)
            for (before_s, before_t), (s, t) in pairwise(stages)
        ]
    return sum(terms[1:], terms[0])


def _stage(student: Tensor, teacher: Tensor, rank: int, vectors: str) -> tuple[Tensor, Tensor]:
    """The student's and the teacher's vectors of one stage, matched and scaled, shape ``[N, Q, rank]``."""
    x, y = _matrix(student, vectors), _matrix(teacher, vectors)
    if rank > min(*x.shape[1:], *y.shape[1:]):
        raise UsageError(
            f"svd: {list(student.shape)} and {list(teacher.shape)} have fewer than {rank} singular vectors: lower rank="
        )
    values, v_t = _decomposed(y)
    v_t = v_t[:, :, :rank]
    v_t = torch.where(v_t.sum(1, keepdim=True) < 0, -v_t, v_t)
    candidates = _right_vectors(x, rank + 3)
    cosine = candidates.mT @ v_t  # [N, rank + 3, rank]
    nearest = cosine.detach().abs().argmax(1, keepdim=True)  # [N, 1, rank]
    v_s = candidates.gather(2, nearest.expand(-1, candidates.shape[1], -1)) * cosine.gather(1, nearest).sign()
    scale = unit(values[:, :rank].sqrt()).unsqueeze(1)
    return v_s * scale, v_t * scale


def _matrix(features: Tensor, vectors: str) -> Tensor:
    """A map as a matrix of length 1 (its singular vectors do not change), shape ``[N, P, Q]``."""
    features = unit(features.flatten(1)).view(features.shape)
    return features.flatten(2).mT if vectors == "channels" else features.flatten(1, 2)


def _decomposed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values, descending, shape ``[N, R]``, and their right vectors, ``[N, Q, R]`` (R = min(P, Q)).

    Of the smaller product of x with itself, as the left vectors are not wanted: several times faster than the
    decomposition of x. That rounds off values below 1e-3 of the largest, whose vectors mean nothing.
    """
    wide = x.shape[2] > x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.mT if wide else x.mT @ x)
    values, vectors = values.flip(1).clamp(min=0), vectors.flip(2)
    return values, unit(x.mT @ vectors, dim=1) if wide else vectors


def _right_vectors(x: Tensor, count: int) -> Tensor:
    """The first right singular vectors of ``x``, shape ``[N, Q, count]``, with damped gradients.

    First-order perturbation theory, written down instead of differentiating the decomposition: a change dG of
    ``G = X^T X`` moves v_j by the sum over i of ``v_i (v_i . dG v_j) / (s_j - s_i)``, where s are the eigenvalues, 0
    for all directions that X does not span. The value of the correction is 0, its gradient is that movement.
    """
    eigenvalues, every = _decomposed(x.detach())
    first, own = every[:, :, :count], eigenvalues[:, :count].unsqueeze(1)  # [N, Q, count], [N, 1, count]
    moved = x.mT @ (x @ first)  # [N, Q, count]
    moved = moved - moved.detach()
    inside = every.mT @ moved  # [N, R, count]
    outside = moved - every @ inside
    correction = every @ (_damped(own - eigenvalues.unsqueeze(2)) * inside) + _damped(own) * outside
    return first + correction


def _damped(gap: Tensor) -> Tensor:
    """``1 / gap`` where it is large, 0 where it is 0, never more than 1 / (2 _GAP)."""
    return gap / (gap.square() + _GAP**2)


def _relation(features: Tensor, before: Tensor) -> Tensor:
    """Nearness of all entries of two stages' vectors, shape ``[N, Q, P, rank]``."""
    return (-(features.unsqueeze(2) - before.unsqueeze(1)).square() / 8).exp()


def _check(student: Sequence[Tensor], teachers: tuple[Tensor, ...], vectors: str) -> None:
    if isinstance(student, Tensor) or len(student) < 2 or len(student) != len(teachers):
        have = 1 if isinstance(student, Tensor) else len(student)
        raise UsageError(
            f"svd: compares consecutive maps, so an edge needs two or more on each side, got {have} and {len(teachers)}"
        )
    for s, t in zip(student, teachers, strict=True):
        if s.ndim != 4 or t.ndim != 4 or len(s) != len(t):
            raise UsageError(f"svd: needs maps [N, C, H, W] of one batch, got {list(s.shape)} and {list(t.shape)}")
        if vectors == "channels" and s.shape[1] != t.shape[1]:
            raise UsageError(
                f"svd: {s.shape[1]} and {t.shape[1]} channels do not compare: tap another layer, or vectors='width'"
            )


INFO = (
    LossInfo(
        svd,
        reads="all_stages",
        kind="sample",
        weight=1.0,
        summary="how the main singular vectors of consecutive maps relate; needs equal channels unless vectors=width",
        paper="Lee, Kim, Song, ECCV 2018, arXiv 1807.06819",
    ),
)
