"""How alike student and teacher answer."""

import torch.nn.functional as F
from torch import Tensor

from mentorch._math import full_precision
from mentorch.metrics._checks import check_pair


def agreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Whether the two choose the same class, right or wrong; higher is more alike.

    Args:
        student: logits, shape ``[N, K]``; a row with a NaN agrees with nothing.
        teacher: logits, same shape.

    Returns:
        One or zero per sample, shape ``[N]``, float32.

    Raises:
        UsageError: for no samples, or shapes that do not fit.

    >>> import torch
    >>> agreement(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    tensor([1., 0.])
    """
    check_pair("agreement", student, teacher)
    known = ~(student.isnan().any(1) | teacher.isnan().any(1))
    return ((student.argmax(1) == teacher.argmax(1)) & known).float()


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's class probabilities from the teacher's, KL(teacher || student).

    Args:
        student: logits, shape ``[N, K]``; a NaN stays a NaN.
        teacher: logits, same shape.

    Returns:
        One value per sample, in nats, lower is more alike, shape ``[N]``, float32 or float64.

    Raises:
        UsageError: for no samples, or shapes that do not fit.

    >>> import torch
    >>> divergence(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 0.0, 1.0]]))
    tensor([0.9957])
    """
    check_pair("divergence", student, teacher)
    student, teacher = full_precision(student, teacher)
    log_q, log_p = F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(1)
