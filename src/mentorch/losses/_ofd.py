"""Overhaul of feature distillation."""

import math

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import align
from mentorch.losses._info import LossInfo
from mentorch.losses._trainable import TrainableLoss


class OFD(TrainableLoss):
    r"""Squared distance to the teacher's map behind a margin ReLU, where the student can still help it (overhaul).

    .. math:: t'_{chw} = \max(t_{chw}, m_c), \quad
        \ell_b = \sum_{chw} (s - t')^2_{chw} \, [s > t' \text{ or } t' > 0], \quad s = BN(conv_{1 \times 1}(F_s))

    Both maps are read before their last activation. The margin m_c < 0 is what channel c of the teacher is worth on
    average where it is negative. Kind ``sample``, up to the batch norm of the adapter while it trains. Several stages
    are several edges, each with a loss of its own. The larger map is averaged down to the smaller one first (released:
    the teacher's map always goes to the student's size).

    Published: weight 1e-3 for the deepest stage, half as much for each stage before it (CIFAR-100); 1e-4 on ImageNet.
    The authors run the teacher's batch norm on the statistics of the batch on purpose:
    ``freeze(teacher, statistics="batch")`` does that without changing them.

    Args:
        margins: the batch norm just before the teacher's last activation (of a residual stage, of its last block:
            ``teacher.layer3[-1].bn2``), whose parameters give the margins as if its outputs were normal; or the margins
            themselves, shape ``[D]``; or nothing: then they are measured on the batch that builds the loss. On a map
            after a ReLU they have no effect.

    Call with ``student``, shape ``[N, C, H, W]``, and ``teacher``, shape ``[N, D, I, J]``; returns shape ``[N]``.

    Raises:
        UsageError: when built, for features that are not maps, or margins that are not one for each channel.

    References:
        Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019, arXiv 1904.01866.

    >>> student, teacher = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 8, 8)
    >>> OFD(margins=nn.BatchNorm2d(6)).build(student, teacher)(student, teacher).shape
    torch.Size([2])
    """

    margins: Tensor | None

    def __init__(self, *, margins: Tensor | nn.BatchNorm2d | None = None):
        super().__init__()
        if isinstance(margins, nn.BatchNorm2d):
            margins = expected_margins(margins)
        self.register_buffer("margins", None if margins is None else margins.detach().clone())

    def _make(self, student: Tensor, teacher: Tensor) -> None:
        if student.ndim != 4 or teacher.ndim != 4:
            raise UsageError(f"OFD: needs maps [N, C, H, W], got {list(student.shape)} and {list(teacher.shape)}")
        c, d = student.shape[1], teacher.shape[1]
        if self.margins is None:
            self.margins = _measured_margins(teacher)
        if self.margins.shape != (d,):
            raise UsageError(
                f"OFD: the teacher's map has {d} channels, but margins has shape {list(self.margins.shape)}"
            )
        convolution = nn.Conv2d(c, d, 1, bias=False)
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / d))
        self.adapter = nn.Sequential(convolution, nn.BatchNorm2d(d))

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        assert self.margins is not None
        student, teacher = align(student, teacher)
        return compare(self.adapter(student), teacher, self.margins)


def compare(student: Tensor, teacher: Tensor, margins: Tensor) -> Tensor:
    """Partial squared distance of two maps of one shape, shape ``[N]``."""
    goal = torch.maximum(teacher, margins.view(-1, 1, 1))
    matters = (student > goal) | (goal > 0)
    return torch.where(matters, student - goal, 0.0).square().flatten(1).sum(1)


def expected_margins(norm: nn.BatchNorm2d) -> Tensor:
    """Mean of the negative part of a normal variable with the scale and shift of a batch norm, shape ``[D]``.

    Three deviations below 0 where less than a thousandth is negative.
    """
    mean, deviation = norm.bias.detach().double(), norm.weight.detach().double().abs()
    ratio = mean / deviation.clamp(min=1e-12)
    negative = torch.special.ndtr(-ratio)
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    usual = negative > 0.001
    margins = torch.where(usual, mean - deviation * density / torch.where(usual, negative, 1.0), -3 * deviation)
    return margins.to(norm.weight.dtype)


def _measured_margins(teacher: Tensor) -> Tensor:
    """Mean of the negative entries of each channel, 0 without any, shape ``[D]``."""
    entries = teacher.transpose(0, 1).flatten(1)
    return entries.clamp(max=0).sum(1) / (entries < 0).sum(1).clamp(min=1)


INFO = (
    LossInfo(
        OFD,
        reads="stages",
        kind="sample",
        preact=True,
        weight=1e-3,
        stage_factor=0.5,
        summary="squared distance to each stage of the teacher behind a margin ReLU",
        paper="Heo et al., ICCV 2019, arXiv 1904.01866",
    ),
)
