"""Multi-level logit distillation."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import full_precision, gathered, own_rows, products, same_shape
from mentorch.losses._info import LossInfo


def mlkd(
    student: Tensor,
    teacher: Tensor,
    *,
    variant: Literal["released", "paper"] = "released",
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    keep: Literal["low", "high"] = "low",
    gather: bool = True,
) -> dict[str, Tensor]:
    r"""Soft targets, relations of samples and relations of classes, on two views and at several temperatures.

    .. math:: instance_b = T^2 KL(p_b \| q_b), \quad batch_b = \sum_j (Q Q^\top - P P^\top)_{bj}^2, \quad
        class_c = \sum_k (Q^\top Q - P^\top P)_{ck}^2

    with N x K matrices Q, P of the probabilities at T. Both views come in one batch, ``[weak; strong]``, 2N images with
    their labels: ``data.Batches(..., strong=)`` makes it. Samples count where the teacher's confidence (weak view,
    T = 1) is at or below the median of the batch, classes where their sum of confidences is.

    ``variant="paper"`` is our reading: all levels on both views, masks on samples and classes. ``released`` is the
    authors' code: no batch and class terms on the strong view, whose instance terms have no mask and read the weak
    view at the first and the last temperature; the masks meet means, so that they only scale them, by about a half.

    Kind ``batch``. Published: weight 0.9 on the sum of all terms, beside 0.1 on the cross-entropy of each view, which
    is 0.2 on their mean; 240 to 960 epochs by pair (CIFAR-100).

    Args:
        student: logits of both views, shape ``[2N, K]``, the weak ones first.
        teacher: logits, same shape; no gradient reaches them.
        variant: ``released`` (the authors' code) or ``paper``.
        temperatures: of the softmax, each above 0, in the order of the authors' loop.
        keep: which half counts; whether ``low`` is the paper's is not known, it is the code's.
        gather: whether medians and relations are over the samples of all processes in distributed training.

    Returns:
        One term per level, view and temperature, such as ``instance weak T=2``: per pair of views, shape ``[N]``, for
        instance and batch, a scalar for class; all at least 0.

    Raises:
        UsageError: for shapes that differ, an odd number of rows, fewer than 2 pairs, an unknown variant or half, or
            temperatures that are not positive.

    References:
        Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023 (no arXiv version).

    >>> import torch
    >>> student, teacher = torch.zeros(4, 3), torch.eye(4, 3)
    >>> terms = mlkd(student, teacher, temperatures=(4.0,), variant="paper")
    >>> list(terms)[:3]
    ['instance weak T=4', 'batch weak T=4', 'class weak T=4']
    """
    _check(student, teacher, variant, temperatures, keep)
    student, teacher = full_precision(student, teacher.detach())
    count = len(student) // 2
    z, v = (
        {view: gathered(half) if gather else half for view, half in zip(("weak", "strong"), x.chunk(2), strict=True)}
        for x in (student, teacher)
    )
    sure = v["weak"].softmax(1)
    samples, classes = _half(sure.amax(1), keep), _half(sure.sum(0), keep)  # [N], [K]
    terms: dict[str, Tensor] = {}
    if variant == "paper":
        for view in z:
            for t in temperatures:
                instance, batch, kind = _levels(z[view], v[view], t)
                terms[f"instance {view} T={t:g}"] = instance * samples
                terms[f"batch {view} T={t:g}"] = batch * samples
                terms[f"class {view} T={t:g}"] = (kind * classes).mean()
    else:
        for t in temperatures:
            instance, batch, kind = _levels(z["weak"], v["weak"], t)
            other = "weak" if t in (temperatures[0], temperatures[-1]) else "strong"  # the authors' slip, kept
            terms[f"instance weak T={t:g}"] = instance * samples.mean()
            terms[f"instance strong T={t:g}"] = _levels(z[other], v[other], t)[0]
            terms[f"batch weak T={t:g}"] = batch * samples.mean()
            terms[f"class weak T={t:g}"] = kind.mean() * classes.mean()
    return {name: own_rows(term, count) if gather and term.ndim else term for name, term in terms.items()}


def _levels(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """What instances ``[N]``, the batch ``[N]`` and the classes ``[K]`` say."""
    log_q, log_p = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    q, p = log_q.exp(), log_p.exp()  # [N, K]
    instance = temperature**2 * (p * (log_p - log_q)).sum(1)
    batch = (products(q, q) - products(p, p)).square().sum(1)
    q, p = q.mT, p.mT
    return instance, batch, (products(q, q) - products(p, p)).square().sum(1)


def _half(values: Tensor, keep: str) -> Tensor:
    """One where a value is on its side of the median (the mean of the middle two), else zero."""
    ordered = values.sort().values
    median = (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2
    return (values <= median if keep == "low" else values >= median).to(values.dtype)


def _check(student: Tensor, teacher: Tensor, variant: str, temperatures: Sequence[float], keep: str) -> None:
    if variant not in ("released", "paper"):
        raise unknown("variant of mlkd", variant, ("released", "paper"))
    if keep not in ("low", "high"):
        raise unknown("half to keep of mlkd", keep, ("low", "high"))
    if not temperatures or min(temperatures) <= 0 or len(set(temperatures)) < len(temperatures):
        raise UsageError(f"mlkd: needs positive temperatures, each once, got {tuple(temperatures)}")
    same_shape("mlkd", student, teacher, "both need the same classes")
    if student.ndim != 2 or len(student) % 2 or len(student) < 4:
        raise UsageError(
            f"mlkd: needs the logits of 2 or more images in two views, [2N, K], weak ones first, "
            f"got {list(student.shape)}"
        )


INFO = (
    LossInfo(
        mlkd,
        reads="logits",
        kind="batch",
        weight=0.9,
        labels_weight=0.2,
        pairs=True,
        summary="soft targets with relations of samples and of classes, on two views",
        paper="Jin et al., CVPR 2023 (no arXiv version)",
    ),
)
