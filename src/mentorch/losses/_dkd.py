"""Decoupled knowledge distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision, per_sample, same_shape
from mentorch.losses._info import LossInfo


def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    r"""Distillation of the true class and of the other classes, weighted apart (decoupled knowledge distillation).

    .. math:: \ell_b = T^2 (\alpha \, KL([p_y, 1 - p_y] \| [q_y, 1 - q_y]) + \beta \, KL(\hat p \| \hat q))

    with everything at temperature T, y the true class, and hats the softmax over the K - 1 other classes.
    Teacher-led, kind ``sample``. Plain distillation has (1 - p_y) in the place of beta. Published: alpha 1, T = 4,
    beta 2 to 8 by pair, weight 1 beside 1 on the cross-entropy, linear warm-up over 20 epochs (CIFAR-100); T = 1,
    beta 0.5 to 2 on ImageNet.

    Args:
        student: logits, shape ``[N, K]``; or ``[N, K, H, W]``, then pixels are averaged.
        teacher: logits, same shape; no gradient reaches them.
        labels: true classes, integers, shape ``[N]`` (or ``[N, H, W]``).
        alpha: weight of the true class against the rest.
        beta: weight of the relations among the other classes.
        temperature: T > 0 of the softmax on both sides.

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: for fewer than 3 classes (nothing is left to compare), shapes that differ, soft labels, or a
            temperature that is not positive.

    References:
        Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679, equation 7.

    >>> student, teacher = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    >>> dkd(student, teacher, torch.tensor([2]))
    tensor([9.0848])
    """
    if temperature <= 0:
        raise UsageError(f"dkd: the temperature must be positive, not {temperature}")
    if student.shape[1] < 3:
        raise UsageError(f"dkd: needs at least 3 classes, got {student.shape[1]}: use kd, which equals it then")
    if labels.is_floating_point():
        raise UsageError(f"dkd: needs integer labels, got {labels.dtype}: soft labels have no true class")
    same_shape("dkd", student, teacher, "both need the same classes")
    student, teacher = full_precision(student, teacher.detach())
    true = torch.zeros_like(student, dtype=torch.bool).scatter(1, labels.long().unsqueeze(1), True)  # [N, K]
    log_q, log_q_rest, log_q_others = _split(student / temperature, true)
    log_p, log_p_rest, log_p_others = _split(teacher / temperature, true)
    target = log_p.exp() * (log_p - log_q) + log_p_rest.exp() * (log_p_rest - log_q_rest)  # [N]
    others = (log_p_others.exp() * (log_p_others - log_q_others)).sum(1)  # the true class adds exactly 0
    return per_sample(alpha * target + beta * others) * temperature**2


def _split(logits: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log p_y and log(1 - p_y), shape ``[N]``, and the log-softmax over the other classes, ``[N, K]`` with 0 at y.

    The true class is taken out by -inf: subtracting a large number instead fails as soon as the logits are large too.
    """
    log_p = F.log_softmax(logits, dim=1)
    hit = log_p.masked_fill(~true, 0.0).sum(1)
    rest = log_p.masked_fill(true, -torch.inf).logsumexp(1)
    others = F.log_softmax(logits.masked_fill(true, -torch.inf), dim=1).masked_fill(true, 0.0)
    return hit, rest, others


INFO = (
    LossInfo(
        dkd,
        reads="logits",
        kind="sample",
        labels=True,
        weight=1.0,
        summary="decoupled soft targets: true class and other classes weighted apart",
        paper="Zhao et al., CVPR 2022, arXiv 2203.08679",
    ),
)
