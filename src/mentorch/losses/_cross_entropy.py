"""The labels' own loss, per sample."""

import torch.nn.functional as F
from torch import Tensor

from mentorch._math import full_precision, per_sample
from mentorch.losses._info import LossInfo


def cross_entropy(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:
    r"""Cross-entropy of the student's classes against the labels, not reduced.

    .. math:: \ell_b = -\sum_c t_{bc} \log q_{bc}, \quad t = (1 - s) \, onehot(y) + s / K

    with s the label smoothing and q = softmax(z). Kind ``sample``.

    Args:
        student: logits, shape ``[N, K]``; or ``[N, K, H, W]``, then pixels are averaged.
        labels: integer classes, shape ``[N]`` (or ``[N, H, W]``), or probabilities of the shape of ``student``.
        label_smoothing: s in [0, 1], the share of the label that is spread over all classes.
        ignore_index: integer label that counts nothing; a sample with only such labels has loss 0.

    Returns:
        One value per sample, shape ``[N]``.

    References:
        Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv 1512.00567, section 7 (smoothing).

    >>> import torch
    >>> cross_entropy(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), torch.tensor([2, 0]))
    tensor([0.4076, 1.0986])
    """
    (student,) = full_precision(student)
    soft = labels.is_floating_point()
    labels = labels.to(student.dtype) if soft else labels.long()
    values = F.cross_entropy(
        student, labels, reduction="none", label_smoothing=label_smoothing, ignore_index=ignore_index
    )
    if values.ndim == 1:
        return values
    if soft:
        return per_sample(values)
    counted = (labels != ignore_index).flatten(1).sum(1)
    return values.flatten(1).sum(1) / counted.clamp(min=1)


INFO = (
    LossInfo(
        cross_entropy,
        reads="logits",
        kind="sample",
        teacher=False,
        labels=True,
        weight=1.0,
        labels_weight=0.0,
        summary="the labels' own loss, with optional smoothing",
        paper="Szegedy et al., CVPR 2016, arXiv 1512.00567 (smoothing)",
    ),
)
