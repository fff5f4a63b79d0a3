"""Knowledge review."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import squared_error
from mentorch.losses._info import LossInfo
from mentorch.losses._trainable import TrainableLoss


class Review(TrainableLoss):
    r"""Distance of each of the teacher's levels from what the student's level and all deeper ones say (review).

    One edge, all stages and then the embedding, shallow to deep, as many on each side; an embedding is a map of one
    cell. From deep to shallow, each level of the student is fused with what the deeper levels left: 1x1 convolution and
    batch norm to a common width, then x = a_1 x + a_2 r with r the residual of the deeper level at the size of x and a
    the sigmoid of a 1x1 convolution over both. Resized to the teacher's map, x is handed on, and a 3x3 convolution with
    batch norm of it is compared:

    .. math:: \ell_b = \sum_l \frac{\sum_k 2^{-k} \, MSE(pool_k(x^l), pool_k(t^l))}{\sum_k 2^{-k}}

    with pool_0 the map itself and pool_1, ... its averages on 4x4, 2x2 and 1x1 cells, as far as they are smaller. Kind
    ``sample``, up to the batch norms while they train. All sizes are read from the first batch.

    Published: the teacher before its last activations, the student after them (CIFAR) or before them (ImageNet, and
    where the catalogue draws the edge); weight 0.6 to 8 by pair (5 for resnet32x4 -> resnet8x4, 0.6 for resnet56 ->
    resnet20), linear warm-up over 20 epochs (CIFAR-100); 1 to 8 with a warm-up of one epoch (ImageNet).

    Args:
        width: common channels of the fused levels; by default those of the student's embedding, at most 512. 256 was
            published for ResNet-50.

    Call with ``student``, a tuple of maps ``[N, C_l, H_l, W_l]`` and a vector ``[N, C]``, and as many ``teachers``,
    ``[N, D_l, I_l, J_l]`` and ``[N, D]``; returns shape ``[N]``.

    Raises:
        UsageError: for a width that is not positive; when built, for fewer than two levels, another number on the
            other side, or a level that is neither map nor vector.

    References:
        Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv 2104.09044.

    >>> student = torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4), torch.randn(2, 8)
    >>> teachers = torch.randn(2, 6, 8, 8), torch.randn(2, 12, 4, 4), torch.randn(2, 12)
    >>> Review().build(student, *teachers)(student, *teachers).shape
    torch.Size([2])
    """

    def __init__(self, *, width: int | None = None):
        super().__init__()
        if width is not None and width < 1:
            raise UsageError(f"Review: the width must be positive, not {width}")
        self.width = width

    def _make(self, student: tuple[Tensor, ...], *teachers: Tensor) -> None:
        if isinstance(student, Tensor) or len(student) < 2 or len(student) != len(teachers):
            have = 1 if isinstance(student, Tensor) else len(student)
            raise UsageError(
                f"Review: fuses levels, so an edge needs two or more on each side, got {have} and {len(teachers)}"
            )
        for tensor in (*student, *teachers):
            if tensor.ndim not in (2, 4):
                raise UsageError(f"Review: needs maps [N, C, H, W] or vectors [N, C], got {list(tensor.shape)}")
        width = self.width or min(512, student[-1].shape[1])
        levels = list(zip(student, teachers, strict=True))
        self.levels = nn.ModuleList(
            _Level(s.shape[1], width, t.shape[1], fuses=i < len(levels) - 1) for i, (s, t) in enumerate(levels)
        )

    def _compare(self, student: tuple[Tensor, ...], *teachers: Tensor) -> Tensor:
        residual: Tensor | None = None
        terms: list[Tensor] = []
        for level, s, t in zip(reversed(self.levels), reversed(student), reversed(teachers), strict=True):
            goal = _as_map(t)
            output, residual = level(_as_map(s), residual, goal.shape[2:])
            terms.append(level_loss(output, goal))
        return torch.stack(terms).sum(0)


class _Level(nn.Module):
    """One level of the student, fused with the residual of the deeper ones."""

    def __init__(self, inputs: int, width: int, outputs: int, *, fuses: bool):
        super().__init__()
        entrance, exit_ = nn.Conv2d(inputs, width, 1, bias=False), nn.Conv2d(width, outputs, 3, padding=1, bias=False)
        for convolution in (entrance, exit_):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.enter = nn.Sequential(entrance, nn.BatchNorm2d(width))
        self.leave = nn.Sequential(exit_, nn.BatchNorm2d(outputs))
        self.shares = nn.Conv2d(2 * width, 2, 1) if fuses else None

    def forward(self, x: Tensor, residual: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Output of this level at the teacher's ``size``, and the residual for the next one."""
        x = self.enter(x)
        if self.shares is not None and residual is not None:
            residual = _resize(residual, x.shape[2:])
            shares = self.shares(torch.cat([x, residual], dim=1)).sigmoid()  # [N, 2, H, W]
            x = shares[:, :1] * x + shares[:, 1:] * residual
        x = _resize(x, size)
        return self.leave(x), x


def level_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Weighted mean of the squared differences of two maps and of their averages on 4x4, 2x2 and 1x1 cells, ``[N]``."""
    terms, weights = [squared_error(student, teacher)], [1.0]
    for cells in (4, 2, 1):
        if cells < min(student.shape[2:]):
            terms.append(squared_error(*(F.adaptive_avg_pool2d(t, cells) for t in (student, teacher))))
            weights.append(weights[-1] / 2)
    total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    assert isinstance(total, Tensor)
    return total / sum(weights)


def _as_map(features: Tensor) -> Tensor:
    return features if features.ndim == 4 else features[:, :, None, None]


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size=tuple(size), mode="nearest")


INFO = (
    LossInfo(
        Review,
        reads="stages_embedding",
        kind="sample",
        preact=True,
        weight=5.0,
        summary="each level of the teacher against the student's level fused with all deeper ones",
        paper="Chen et al., CVPR 2021, arXiv 2104.09044",
    ),
)
