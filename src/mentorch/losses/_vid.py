"""Variational information distillation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import align, per_sample
from mentorch.losses._info import LossInfo
from mentorch.losses._trainable import TrainableLoss

_FLOOR = 1e-5  # of the variances, as released


class VID(TrainableLoss):
    r"""How unlikely the teacher's map is under what the student knows of it (variational information distillation).

    .. math:: \ell_b = mean_{chw} \tfrac12 ((\mu(F_s) - F_t)^2 / v_c + \log v_c), \quad v_c = softplus(\rho_c) + 10^{-5}

    A Gaussian around a prediction of the teacher's map: three 1x1 convolutions without bias, ReLUs between, and one
    trained variance per channel. The larger map is averaged down to the smaller one first. Kind ``sample``. Several
    stages are several edges, each with a loss of its own. Published: all stages, weight 1 (CIFAR-100).

    The value is not zero at equality but log(v) / 2, 0.8047 at first, and can fall to -5.76 as variances shrink. The
    released code and torchdistill's take log(1 + exp(rho)), which is infinite from 89 on, where this is exact. In one
    toolkit (mdistiller) the optimiser never sees rho: that loss is a mean squared error divided by 10.

    Args:
        variance: v before training, above 1e-5.

    Call with ``student``, shape ``[N, C, H, W]``, and ``teacher``, shape ``[N, D, I, J]``; returns shape ``[N]``.

    Raises:
        UsageError: for a variance that is too small; when built, for features that are not maps.

    References:
        Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019, arXiv 1904.05835
            (Gaussian with one variance per channel).

    >>> student, teacher = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)
    >>> VID().build(student, teacher)(student, teacher).shape
    torch.Size([2])
    """

    def __init__(self, *, variance: float = 5.0):
        super().__init__()
        if variance <= _FLOOR:
            raise UsageError(f"VID: the variance must be above {_FLOOR}, not {variance}")
        self.variance = variance

    def _make(self, student: Tensor, teacher: Tensor) -> None:
        if student.ndim != 4 or teacher.ndim != 4:
            raise UsageError(f"VID: needs maps [N, C, H, W], got {list(student.shape)} and {list(teacher.shape)}")
        c, d = student.shape[1], teacher.shape[1]
        self.mean = nn.Sequential(
            nn.Conv2d(c, d, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(d, d, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(d, d, 1, bias=False),
        )
        excess = self.variance - _FLOOR  # softplus(rho); its inverse, for large values too
        self.rho = nn.Parameter(torch.full((d,), excess + math.log(-math.expm1(-excess)), dtype=torch.float64))

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = align(student, teacher)
        variance = (F.softplus(self.rho) + _FLOOR).view(-1, 1, 1)
        values: Tensor = F.mse_loss(self.mean(student), teacher, reduction="none") / variance + variance.log()
        return per_sample(values) / 2


INFO = (
    LossInfo(
        VID,
        reads="stages",
        kind="sample",
        weight=1.0,
        summary="likelihood of the teacher's maps under a Gaussian that the student predicts",
        paper="Ahn et al., CVPR 2019, arXiv 1904.05835",
    ),
)
