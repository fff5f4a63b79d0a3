"""Hints from a middle layer."""

from torch import Tensor

from mentorch._math import full_precision, same_shape, squared_error
from mentorch.losses._info import LossInfo


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference of two feature maps (FitNets).

    .. math:: \ell_b = mean_{chw} (R(F_s) - F_t)^2

    Kind ``sample``. The regressor R is not part of the loss: it is the adapter of the edge, see :class:`Regressor`.
    Published: second stage, weight 100, in one run with the cross-entropy (CIFAR-100); the paper trains up to the
        hint first.

    Args:
        student: features after the adapter, shape ``[N, ...]``.
        teacher: features, same shape; no gradient reaches them.

    Returns:
        One value per sample, shape ``[N]``.

    Raises:
        UsageError: if the shapes differ.

    References:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550, equation 3.

    >>> import torch
    >>> hint(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([2., 0.])
    """
    same_shape("hint", student, teacher, "give the edge an adapter, such as mentorch.losses.Regressor()")
    student, teacher = full_precision(student, teacher.detach())
    return squared_error(student, teacher)


INFO = (
    LossInfo(
        hint,
        reads="stage",
        kind="sample",
        adapter=True,
        weight=100.0,
        summary="squared difference of one pair of middle feature maps",
        paper="Romero et al., ICLR 2015, arXiv 1412.6550",
    ),
)
