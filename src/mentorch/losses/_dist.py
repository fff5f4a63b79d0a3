"""Distillation from a stronger teacher."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision, gathered, per_sample, same_shape, unit
from mentorch.losses._info import LossInfo


def dist(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 4.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    gather: bool = True,
) -> dict[str, Tensor]:
    r"""Correlation of the class probabilities in place of their divergence (distillation from a stronger teacher).

    .. math:: inter_b = \beta T^2 (1 - \rho(q_{b \cdot}, p_{b \cdot})), \quad
        intra = \gamma T^2 \, mean_c (1 - \rho(q_{\cdot c}, p_{\cdot c}))

    with probabilities at T and Pearson's correlation: over the classes of each sample, and over the samples of each
    class. A constant row or column correlates with nothing: its value is T squared and its gradient 0. ``intra``
    depends on the batch size (at 2 samples every correlation is 1 or -1). Kind ``batch``. Published: T = 4, weight 2
    beside 1 on the cross-entropy (CIFAR-100); T = 1 (ImageNet). T squared is the released code's. torchdistill's
    value is the sum of the means of both terms.

    Args:
        student: logits, shape ``[N, K]``; or ``[N, K, H, W]``, then pixels take the place of samples.
        teacher: logits, same shape; no gradient reaches them.
        temperature: T > 0 of the softmax on both sides.
        beta: weight of the samples.
        gamma: weight of the classes.
        gather: whether ``intra`` is over the samples of all processes in distributed training.

    Returns:
        ``inter``: one value per sample, shape ``[N]``, and ``intra``: a scalar; both at least 0.

    Raises:
        UsageError: for shapes that differ, one sample alone, or a temperature that is not positive.

    References:
        Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536.

    >>> student = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    >>> teacher = torch.tensor([[2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])
    >>> dist(student, teacher, temperature=1.0)["inter"]  # the second rows differ by a constant only
    tensor([1.5000, 0.0000])
    """
    if temperature <= 0:
        raise UsageError(f"dist: the temperature must be positive, not {temperature}")
    same_shape("dist", student, teacher, "both need the same classes")
    student, teacher = full_precision(student, teacher.detach())
    q, p = ((logits / temperature).softmax(1).movedim(1, -1) for logits in (student, teacher))  # [N, ..., K]
    columns_q, columns_p = ((gathered(x) if gather else x).flatten(0, -2).mT for x in (q, p))  # [K, N ...]
    if columns_q.shape[1] < 2:
        raise UsageError("dist: compares the samples of a batch, so it needs 2 or more, got 1: drop that batch")
    inter, intra = per_sample(_apart(q, p)), _apart(columns_q, columns_p).mean()
    return {"inter": beta * temperature**2 * inter, "intra": gamma * temperature**2 * intra}


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """One minus Pearson's correlation along the last axis, 1 where one side is constant; exactly 0 at equality."""
    a, b = (unit(x - x.mean(-1, keepdim=True)) for x in (a, b))
    vary = a.any(-1) & b.any(-1)
    return torch.where(vary, (a - b).square().sum(-1) / 2, 1.0)


INFO = (
    LossInfo(
        dist,
        reads="logits",
        kind="batch",
        weight=2.0,
        summary="correlation of class probabilities, within samples and within classes",
        paper="Huang et al., NeurIPS 2022, arXiv 2205.10536",
    ),
)
