"""Probabilistic knowledge transfer."""

from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import cosines, full_precision, gathered, own_rows, products
from mentorch.losses._info import LossInfo

_FLOOR = 1e-7  # smallest similarity and probability, as in the released code


def pkt(
    student: Tensor,
    teacher: Tensor,
    *,
    variant: Literal["paper", "released", "akt"] = "paper",
    kernel: Literal["cosine", "rbf"] = "cosine",
    include_diagonal: bool = True,
    gather: bool = True,
) -> Tensor:
    r"""Divergence between the neighbourhoods that teacher and student see within the batch (probabilistic transfer).

    .. math:: K_{ij} = (cos(f_i, f_j) + 1) / 2, \quad P_{ij} = K_{ij} / \sum_j K_{ij}, \quad
        \ell_i = \sum_j P^t_{ij} \log (P^t_{ij} / P^s_{ij})

    Teacher-led, kind ``row``: entry i is the share of anchor i. Widths may differ.

    Published weight: 30000 on the released value, the mean over all B x B entries, which is exactly 1/B of ours:
    30000/B here, 468.75 at the published batch size 64. Rows do not shrink with B (it is the *relative* difference of
    the similarities that counts, and every P is about 1/B), so 468.75 is a sensible weight at other batch sizes too,
    while a fixed 30000 on the released value would fade as batches grow.

    torchdistill's loss is the mean of ``variant="released"``; the paper form is N times that, up to the 1e-7.

    Args:
        student: embeddings, shape ``[N, D]`` (more axes are flattened).
        teacher: embeddings, shape ``[N, E]``; no gradient reaches them.
        variant: ``paper``; ``released`` (1e-7 inside the logarithm, divided by N once more); or ``akt``, as a public
            comparison toolkit computes it: products that are not normalised and not shifted, probabilities clipped to
            [1e-7, 1].
        kernel: ``cosine``, as published, or ``rbf``: exp(-d^2 / m) with d the distance of two samples and m the mean of
            d^2 over the batch, on each side its own; the family allows any kernel, this width is ours.
        include_diagonal: whether a sample is its own neighbour, as published.
        gather: whether B counts the samples of all processes in distributed training; each gets its own anchors.

    Returns:
        One value per anchor, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, other batch sizes, an unknown variant or kernel, or a kernel for ``akt``.

    References:
        Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
            arXiv 1803.10837.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    >>> pkt(student, teacher)
    tensor([0.0291, 0.0291, 0.0353])
    """
    if variant not in ("paper", "released", "akt"):
        raise unknown("variant of pkt", variant, ("paper", "released", "akt"))
    if kernel not in _KERNELS:
        raise unknown("kernel of pkt", kernel, tuple(_KERNELS))
    if variant == "akt" and kernel != "cosine":
        raise UsageError("pkt: variant='akt' has its own similarity: leave kernel= out")
    similarity = products if variant == "akt" else _KERNELS[kernel]
    student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
    pairs = [(x, gathered(x) if gather else x) for x in (student, teacher)]
    count, everyone = _check("pkt", student, teacher, pairs[0][1])
    q, p = (similarity(own, every) for own, every in pairs)  # [N, B]
    if not include_diagonal:
        itself = torch.eye(everyone, dtype=torch.bool, device=student.device)
        itself = own_rows(itself, count) if gather else itself
        q, p = (x.masked_fill(itself, 0.0) for x in (q, p))
    q, p = _rows(q), _rows(p)
    if variant == "released":
        return (p * ((p + _FLOOR) / (q + _FLOOR)).log()).sum(1) / everyone
    q, p = q.clamp(_FLOOR, 1.0), p.clamp(_FLOOR, 1.0)  # the same on a diagonal of zeros, which therefore adds 0
    return (p * (p / q).log()).sum(1)


def pkt_supervised(student: Tensor, labels: Tensor, *, gather: bool = True) -> Tensor:
    r"""Divergence of the neighbourhoods that the student sees from those that the labels define.

    .. math:: Y_{ij} = [y_i = y_j], \quad \ell_i = \sum_j \tilde Y_{ij} \log (\tilde Y_{ij} / P^s_{ij})

    with rows of Y normalised to one and P as in :func:`pkt`. Kind ``row``. Published weight: 1e-3 of that of
    :func:`pkt` (1e-4 in the comparison toolkit), as an addition to it.

    Args:
        student: embeddings, shape ``[N, D]`` (more axes are flattened).
        labels: classes, any integers, shape ``[N]``.
        gather: whether B counts the samples of all processes in distributed training; each gets its own anchors.

    Returns:
        One value per anchor, at least 0, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, other batch sizes, or soft labels.

    References:
        Passalis, Tefas, ECCV 2018, arXiv 1803.10837 (the supervised term of the released code).

    >>> pkt_supervised(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 1]))
    tensor([0.5094, 0.5094, 0.9959])
    """
    if labels.is_floating_point() or labels.ndim != 1:
        raise UsageError(f"pkt_supervised: needs integer labels [N], got {labels.dtype} {list(labels.shape)}")
    (student,) = full_precision(student.flatten(1))
    every, classes = (gathered(x) if gather else x for x in (student, labels))
    _check("pkt_supervised", student, labels, every)
    q = _rows(_cosine(student, every)).clamp(_FLOOR, 1.0)  # [N, B]
    same = labels[:, None] == classes[None, :]
    p = same.sum(1, keepdim=True).to(q.dtype).reciprocal()
    return torch.where(same, p * (p / q).log(), 0.0).sum(1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines moved to [0, 2], shape ``[N, M]``: rows are divided by their sums next."""
    return cosines(a, b) + 1


def _rbf(a: Tensor, b: Tensor) -> Tensor:
    """Gaussian kernel of rows of ``b`` with all rows of ``b``, as wide as these are apart, shape ``[N, M]``."""
    middle = b.mean(0)  # distances depend neither on it nor, over their mean, on the unit; rounding and range do
    size = (b - middle).abs().amax().detach()
    every = (b - middle) / torch.where(size > 0, size, 1.0)
    a, b = every if a is b else (a - middle) / torch.where(size > 0, size, 1.0), every
    squares = b.square().sum(1)
    mean = 2 * squares.sum() / (len(b) - 1)  # over all pairs, as the rows of b are centred
    distances = (a.square().sum(1, keepdim=True) + squares - 2 * products(a, b)).clamp(min=0)
    return (-distances / torch.where(mean > 0, mean, 1.0)).exp()


_KERNELS = {"cosine": _cosine, "rbf": _rbf}


def _rows(similarity: Tensor) -> Tensor:
    """Rows divided by their sum; a row that sums to nothing becomes zero."""
    total = similarity.sum(1, keepdim=True)
    return similarity / total.masked_fill(total.abs() <= _FLOOR**2, torch.inf)


def _check(name: str, student: Tensor, other: Tensor, everyone: Tensor) -> tuple[int, int]:
    """How many samples there are here, and everywhere."""
    if len(student) != len(other):
        raise UsageError(f"{name}: needs one batch, got {len(student)} and {len(other)} samples")
    if len(everyone) < 2:
        raise UsageError(f"{name}: compares the samples of a batch, so it needs 2 or more, got 1: drop that batch")
    return len(student), len(everyone)


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
