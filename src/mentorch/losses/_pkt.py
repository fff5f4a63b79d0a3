"""Probabilistic knowledge transfer."""

from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import full_precision, products, unit
from mentorch.losses._info import LossInfo

_FLOOR = 1e-7  # smallest similarity and probability, as in the released code


def pkt(
    student: Tensor,
    teacher: Tensor,
    *,
    variant: Literal["paper", "released", "akt"] = "paper",
    include_diagonal: bool = True,
) -> Tensor:
    r"""Divergence between the neighbourhoods that teacher and student see within the batch (probabilistic transfer).

    .. math:: K_{ij} = (cos(f_i, f_j) + 1) / 2, \quad P_{ij} = K_{ij} / \sum_j K_{ij}, \quad
        \ell_i = \sum_j P^t_{ij} \log (P^t_{ij} / P^s_{ij})

    Teacher-led, kind ``row``: entry i is the share of anchor i. Widths may differ.

    Published weight: 30000 on the released value, the mean over all B x B entries, which is exactly 1/B of ours:
    30000/B here, 468.75 at the published batch size 64. Rows do not shrink with B (it is the *relative* difference of
    the similarities that counts, and every P is about 1/B), so 468.75 is a sensible weight at other batch sizes too,
    while a fixed 30000 on the released value would fade as batches grow.

    Args:
        student: embeddings, shape ``[N, D]`` (more axes are flattened).
        teacher: embeddings, shape ``[N, E]``; no gradient reaches them.
        variant: ``paper``; ``released`` (1e-7 inside the logarithm, divided by N once more); or ``akt``, as a public
            comparison toolkit computes it: products that are not normalised and not shifted, probabilities clipped to
            [1e-7, 1].
        include_diagonal: whether a sample is its own neighbour, as published.

    Returns:
        One value per anchor, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, other batch sizes, or an unknown variant.

    References:
        Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
            arXiv 1803.10837.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    >>> pkt(student, teacher)
    tensor([0.0291, 0.0291, 0.0353])
    """
    if variant not in ("paper", "released", "akt"):
        raise unknown("variant of pkt", variant, ("paper", "released", "akt"))
    _check("pkt", student, teacher)
    student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
    similarity = products if variant == "akt" else _cosine
    keep = torch.ones(len(student), len(student), dtype=torch.bool, device=student.device)
    if not include_diagonal:
        keep.fill_diagonal_(False)
    q, p = (_rows(torch.where(keep, similarity(f, f), 0.0)) for f in (student, teacher))  # [N, N]
    if variant == "released":
        return (p * ((p + _FLOOR) / (q + _FLOOR)).log()).sum(1) / len(student)
    q, p = q.clamp(_FLOOR, 1.0), p.clamp(_FLOOR, 1.0)
    return torch.where(keep, p * (p / q).log(), 0.0).sum(1)


def pkt_supervised(student: Tensor, labels: Tensor) -> Tensor:
    r"""Divergence of the neighbourhoods that the student sees from those that the labels define.

    .. math:: Y_{ij} = [y_i = y_j], \quad \ell_i = \sum_j \tilde Y_{ij} \log (\tilde Y_{ij} / P^s_{ij})

    with rows of Y normalised to one and P as in :func:`pkt`. Kind ``row``. Published weight: 1e-3 of that of
    :func:`pkt` (1e-4 in the comparison toolkit), as an addition to it.

    Args:
        student: embeddings, shape ``[N, D]`` (more axes are flattened).
        labels: classes, any integers, shape ``[N]``.

    Returns:
        One value per anchor, at least 0, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, other batch sizes, or soft labels.

    References:
        Passalis, Tefas, ECCV 2018, arXiv 1803.10837 (the supervised term of the released code).

    >>> pkt_supervised(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 1]))
    tensor([0.5094, 0.5094, 0.9959])
    """
    _check("pkt_supervised", student, labels)
    if labels.is_floating_point() or labels.ndim != 1:
        raise UsageError(f"pkt_supervised: needs integer labels [N], got {labels.dtype} {list(labels.shape)}")
    (student,) = full_precision(student.flatten(1))
    q = _rows(_cosine(student, student)).clamp(_FLOOR, 1.0)  # [N, N]
    same = labels[:, None] == labels[None, :]
    p = same.sum(1, keepdim=True).to(q.dtype).reciprocal()
    return torch.where(same, p * (p / q).log(), 0.0).sum(1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines moved to [0, 1], shape ``[N, M]``."""
    return (products(unit(a), unit(b)) + 1) / 2


def _rows(similarity: Tensor) -> Tensor:
    """Rows divided by their sum; a row that sums to nothing becomes zero."""
    total = similarity.sum(1, keepdim=True)
    ok = total.abs() > _FLOOR**2
    return torch.where(ok, similarity / torch.where(ok, total, 1.0), 0.0)


def _check(name: str, student: Tensor, other: Tensor) -> None:
    if len(student) != len(other):
        raise UsageError(f"{name}: needs one batch, got {len(student)} and {len(other)} samples")
    if len(student) < 2:
        raise UsageError(
            f"{name}: compares the samples of a batch, so it needs 2 or more, got {len(student)}: drop that batch"
        )


INFO = (
    LossInfo(
        pkt,
        reads="embedding",
        kind="row",
        weight=30000 / 64,
        summary="which samples of the batch are neighbours",
        paper="Passalis, Tefas, ECCV 2018, arXiv 1803.10837",
    ),
    LossInfo(
        pkt_supervised,
        reads="embedding",
        kind="row",
        teacher=False,
        labels=True,
        weight=1e-3 * 30000 / 64,
        summary="samples of one class as neighbours; an addition to pkt",
        paper="Passalis, Tefas, ECCV 2018, arXiv 1803.10837",
    ),
)
