"""Similarity-preserving distillation."""

from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision, gathered, products, relative, unit
from mentorch.losses._info import LossInfo


def similarity(student: Tensor, teacher: Tensor, *, gather: bool = True) -> Tensor:
    r"""Difference of how similar the samples of a batch are to each other (similarity-preserving distillation).

    .. math:: G = F F^\top, \quad \tilde G_i = G_i / \|G_i\|, \quad
        \ell_i = \frac{1}{B} \sum_j (\tilde G^s_{ij} - \tilde G^t_{ij})^2

    with F the flattened features. Sizes may differ. Kind ``row``: the mean is the published
    :math:`\|\tilde G_s - \tilde G_t\|^2 / B^2`. Published: last map, weight 3000 (CIFAR-100).
    torchdistill divides the rows of G by the sum of their absolute values, not by their length, so its values differ.

    Args:
        student: features, shape ``[N, ...]``.
        teacher: features, shape ``[N, ...]``; no gradient reaches them.
        gather: whether B counts the samples of all processes in distributed training; each gets its own anchors.

    Returns:
        One value per anchor, at least 0, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, or other batch sizes.

    References:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682, equation 4.

    >>> import torch
    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    >>> similarity(student, teacher), similarity(student, 2 * student)
    (tensor([0.1953, 0.1953, 0.1223]), tensor([0., 0., 0.]))
    """
    if len(student) != len(teacher):
        raise UsageError(f"similarity: needs one batch, got {len(student)} and {len(teacher)} samples")
    student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
    difference = _similarities(student, gather) - _similarities(teacher, gather)  # [N, B]
    if difference.shape[1] < 2:
        raise UsageError("similarity: compares the samples of a batch, so it needs 2 or more, got 1: drop that batch")
    return difference.square().mean(1)


def _similarities(features: Tensor, gather: bool) -> Tensor:
    """Products of own rows with all rows, each row of unit length, shape ``[N, B]``."""
    return unit(relative(products(features, gathered(features) if gather else features)))  # their size does not matter


INFO = (
    LossInfo(
        similarity,
        reads="last_stage",
        kind="row",
        weight=3000.0,
        summary="how similar the samples of the batch are to each other",
        paper="Tung, Mori, ICCV 2019, arXiv 1907.09682",
    ),
)
