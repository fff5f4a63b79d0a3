"""Attention transfer."""

from typing import Literal

from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import align, full_precision, length, relative, unit
from mentorch.losses._info import LossInfo


def attention(
    student: Tensor, teacher: Tensor, *, variant: Literal["released", "paper"] = "released", power: float = 2.0
) -> Tensor:
    r"""Difference of the normalised attention maps of one pair of stages (attention transfer).

    .. math:: A(F) = \sum_c |F_c|^p, \quad a = A / \|A\|, \quad \ell_b = \|a_s - a_t\|^2 / (HW)

    The larger map is averaged down to the smaller one first; channels may differ. ``variant="paper"`` is the plain norm
    of the difference; torchdistill has both, for maps of one size. Kind ``sample``. Several stages are several edges,
    summed. Published: all stages, p = 2, weight 1000 for the released form (CIFAR-100 and ImageNet).

    Args:
        student: map, shape ``[N, C, H, W]``.
        teacher: map, shape ``[N, D, I, J]``; no gradient reaches it.
        variant: ``released`` (the authors' code) or ``paper``.
        power: p >= 1 of the attention maps.

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: for features that are not maps, another batch size, a power below 1, or an unknown variant.

    References:
        Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928, equation 2 (the
            paper's form).

    >>> import torch
    >>> corner, other = torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 2, 2)
    >>> corner[..., 0, 0], other[..., 1, 1] = 1.0, 5.0
    >>> attention(corner, corner * 3), attention(corner, other)  # invariant to scale; at right angles: 2 / (H W)
    (tensor([0.]), tensor([0.5000]))
    """
    if variant not in ("released", "paper"):
        raise unknown("variant of attention", variant, ("released", "paper"))
    if power < 1:
        raise UsageError(f"attention: the power must be at least 1, not {power}")
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise UsageError(
            f"attention: needs two maps [N, C, H, W] of one batch, got {list(student.shape)} and {list(teacher.shape)}"
        )
    student, teacher = align(*full_precision(student, teacher.detach()))
    difference = _attention_map(student, power) - _attention_map(teacher, power)  # [N, H W]
    return difference.square().mean(1) if variant == "released" else length(difference)


def _attention_map(features: Tensor, power: float) -> Tensor:
    """Unit vector of the powers summed over channels, shape ``[N, H W]``."""
    powers = features.square() if power == 2 else relative(features).abs().pow(power)
    return unit(relative(powers.sum(1).flatten(1)))  # the unit does not matter


INFO = (
    LossInfo(
        attention,
        reads="stages",
        kind="sample",
        weight=1000.0,
        summary="where the feature maps of each stage are active",
        paper="Zagoruyko, Komodakis, ICLR 2017, arXiv 1612.03928",
    ),
)
