"""Soft targets."""

from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import constant, full_precision, log_probabilities, per_sample, probabilities, same_shape
from mentorch.losses._info import LossInfo


def kd(student: Tensor, teacher: Tensor, *, temperature: float = 4.0, t_squared: bool = True) -> Tensor:
    r"""Kullback-Leibler divergence of the student's softened classes from the teacher's (knowledge distillation).

    .. math:: \ell_b = T^2 \sum_c p_{bc} (\log p_{bc} - \log q_{bc}), \quad p = softmax(v / T), \; q = softmax(z / T)

    with student logits z and teacher logits v. The teacher leads: its distribution weights the logarithm. Kind
    ``sample``. Published: T = 4 with weight 0.9, beside 0.1 on the labels' cross-entropy (CIFAR-100).

    Args:
        student: logits, shape ``[N, K]``; or ``[N, K, H, W]``, then pixels are averaged.
        teacher: logits, same shape; no gradient reaches them.
        temperature: T > 0 of the softmax on both sides.
        t_squared: ``False`` leaves out T squared, only to reproduce code that forgot it, such as torchdistill's where
            the weight of the labels is 0.

    Returns:
        One divergence per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: if the shapes differ or the temperature is not positive.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", NIPS workshop 2014, arXiv 1503.02531,
        section 2.

    >>> import torch
    >>> student = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    >>> teacher = torch.tensor([[2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])
    >>> kd(student, teacher, temperature=1.0)  # the second rows differ by a constant only
    tensor([0.9957, 0.0000])
    """
    if temperature <= 0:
        raise UsageError(f"kd: the temperature must be positive, not {temperature}")
    same_shape("kd", student, teacher, "both need the same classes")
    student, teacher = full_precision(student, constant(teacher))
    log_q, log_p = log_probabilities(student, temperature), log_probabilities(teacher, temperature)  # [N, K]
    divergence = per_sample((probabilities(teacher, temperature) * (log_p - log_q)).sum(1))  # [N]
    return divergence * temperature**2 if t_squared and temperature != 1.0 else divergence


INFO = (
    LossInfo(
        kd,
        reads="logits",
        kind="sample",
        weight=0.9,
        labels_weight=0.1,
        summary="soft targets: the teacher's softened class probabilities",
        paper="Hinton et al., NIPS workshop 2014, arXiv 1503.02531",
    ),
)
