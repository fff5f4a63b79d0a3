"""What a teacher says of each pixel's class, over the pixels that count; one value per image."""

import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import constant, full_precision, log_probabilities, per_sample, probabilities, same_shape


def pixel_kd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    hard: bool = False,
    ignore: int = 255,
) -> Tensor:
    r"""Divergence of the student's classes from the teacher's, pixel by pixel.

    .. math:: \ell_b = \frac{T^2}{n_b} \sum_{p \text{ counts}} \sum_c t_{bpc} (\log t_{bpc} - \log q_{bpc})

    with t and q the softmax over classes at temperature T. ``hard`` takes the teacher's most probable class as a
    label, :math:`\ell_b = - \frac{1}{n_b} \sum_p \log q_{bp \hat{c}}`, as task branching does (Ye et al., CVPR 2019,
    arXiv 1904.10167). Kind ``sample``. Where the labels themselves are the target, ``cross_entropy`` with
    ``ignore_index=255`` is the loss.

    Args:
        student: logits, shape ``[N, K, H, W]``.
        teacher: logits, same shape; no gradient reaches them.
        labels: integers, shape ``[N, H, W]``, that only say which pixels do not count, such as the corners that
            a rotation left empty; all count if not given.
        temperature: T > 0.
        hard: the teacher's classes instead of its probabilities; then the temperature must be 1.
        ignore: the label of pixels that do not count.

    Returns:
        One value per image, shape ``[N]``; 0 for an image in which no pixel counts.

    Raises:
        UsageError: if shapes differ, or the temperature does not fit.

    References:
        Hinton et al., NIPS workshop 2014, arXiv 1503.02531, section 2; per pixel, Liu et al., "Structured Knowledge
        Distillation for Semantic Segmentation", CVPR 2019, arXiv 1903.04197, equation 1.

    >>> import torch
    >>> student = torch.tensor([0.0, 0.0, 0.0, 9.0]).view(1, 2, 1, 2)  # two classes at two pixels
    >>> labels = torch.tensor([[[1, 255]]])
    >>> pixel_kd(student, torch.zeros(1, 2, 1, 2), labels)
    tensor([0.])
    """
    if temperature <= 0 or (hard and temperature != 1.0):
        wanted = "1 with hard classes" if hard else "positive"
        raise UsageError(f"pixel_kd: the temperature must be {wanted}, not {temperature}")
    same_shape("pixel_kd", student, teacher, "both need the same classes at one size")
    if labels is not None and labels.shape != student.shape[:1] + student.shape[2:]:
        shapes = f"{list(student.shape)} and {list(labels.shape)}"
        raise UsageError(f"pixel_kd: labels must be [N, H, W] beside logits [N, K, H, W], got {shapes}")
    student, teacher = full_precision(student, constant(teacher))
    if hard:
        values = F.cross_entropy(student, teacher.argmax(1), reduction="none")  # [N, H, W]
    else:
        log_q, log_t = log_probabilities(student, temperature), log_probabilities(teacher, temperature)
        values = temperature**2 * (probabilities(teacher, temperature) * (log_t - log_q)).sum(1)
    if labels is None:
        return per_sample(values)
    counts = labels != ignore
    return values.masked_fill(~counts, 0.0).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)
