"""Neuron selectivity transfer."""

from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import align, full_precision, per_sample, products, unit
from mentorch.losses._info import LossInfo


def nst(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Discrepancy between what the student's and the teacher's channels select (neuron selectivity transfer).

    Channels are points: x_i is the i-th channel of the student as a unit vector over the cells, y_j the teacher's.

    .. math:: \ell_b = mean_{ii'} k(x_i, x_{i'}) + mean_{jj'} k(y_j, y_{j'}) - 2 \, mean_{ij} k(x_i, y_j)
        = \| X^T X / C - Y^T Y / D \|_F^2, \quad k(a, b) = \langle a, b \rangle^2

    the squared maximum mean discrepancy under the polynomial kernel of degree 2. Whichever of the two forms is cheaper
    is computed; neither keeps more than one matrix per sample, and the first rounds to about 1e-7 around 0. The larger
    map is averaged down to the smaller one first; the numbers of channels may differ. Kind ``sample``. Several stages
    are several edges, summed. Published: all stages, weight 50 (CIFAR-100).

    Args:
        student: map, shape ``[N, C, H, W]``.
        teacher: map, shape ``[N, D, I, J]``; no gradient reaches it.

    Returns:
        One value per sample, at least 0 up to rounding, shape ``[N]``.

    Raises:
        UsageError: for features that are not maps, or another batch size.

    References:
        Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv 1707.01219
            (squared maximum mean discrepancy, polynomial kernel). The released toolkits broadcast all pairs of channels
            over all cells; the values are the same.

    >>> import torch
    >>> left, right = torch.eye(2).view(2, 1, 1, 2)
    >>> nst(left.unsqueeze(0), 3 * left.unsqueeze(0)), nst(left.unsqueeze(0), right.unsqueeze(0))
    (tensor([0.]), tensor([2.]))
    """
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise UsageError(
            f"nst: needs two maps [N, C, H, W] of one batch, got {list(student.shape)} and {list(teacher.shape)}"
        )
    student, teacher = align(*full_precision(student, teacher.detach()))
    x, y = unit(student.flatten(2)), unit(teacher.flatten(2))  # [N, C, HW], [N, D, HW]
    (c, cells), d = x.shape[1:], y.shape[1]
    if (c + d) * cells <= c * c + d * d + c * d:
        x, y = x.mT, y.mT
        difference = products(x, x) / c - products(y, y) / d  # [N, HW, HW]
        return difference.square().flatten(1).sum(1)
    return _kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Mean of the kernel over all pairs of channels, shape ``[N]``."""
    return per_sample(products(a, b).square())


INFO = (
    LossInfo(
        nst,
        reads="stages",
        kind="sample",
        weight=50.0,
        summary="which cells the channels of each stage select, as a distribution over channels",
        paper="Huang, Wang, arXiv 1707.01219",
    ),
)
