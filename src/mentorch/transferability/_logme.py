"""Logarithm of maximum evidence."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import check_finite, class_index, one_hot, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_DECADES = 12  # how far from the scale of the features the ratio of precisions is searched, either way
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40


def logme(features: Tensor | Features, labels: Tensor) -> Tensor:
    r"""How likely the labels are under a Bayesian linear model of the features, its two precisions chosen best.

    .. math:: \max_{\alpha, \beta} \frac{1}{N} \log p(y | F, \alpha, \beta), \quad
        y = F w + \epsilon, \; w \sim \mathcal{N}(0, \alpha^{-1}), \; \epsilon \sim \mathcal{N}(0, \beta^{-1})

    averaged over the columns of y: one indicator per class, or one per label or target. For a ratio
    :math:`t = \alpha / \beta` the best :math:`\beta` is known. What remains is a function of one number, with
    :math:`\sigma_j` the squared singular values of F and :math:`x = U^\top y`,

    .. math:: -\frac{1}{2} \sum_j \log(1 + \sigma_j / t) - \frac{N}{2} \left( \log \frac{2 \pi Q(t)}{N} + 1 \right),
        \quad Q(t) = \|y\|^2 - \sum_j \frac{\sigma_j}{\sigma_j + t} x_j^2 .

    Its maximum is searched directly, for all columns at once. The fixed point of the published algorithm is such a
    maximum; the sums run over non-zero singular values, so the value is right for N < D too. There is no intercept:
    shifting the features changes the score. Compare networks on the same samples and labels only.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers ``[N]``; several labels per sample, 0 or 1, integers or bool ``[N, T]``; or targets of
            a regression, floating point ``[N]`` or ``[N, T]``.

    Returns:
        Higher is better, unbounded; a float64 scalar.

    Raises:
        UsageError: for labels of another shape, or that are all the same.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021,
        arXiv 2102.11005, algorithm 1; You et al., JMLR 2022, arXiv 2110.10545 (the fixed point).

    >>> x = torch.tensor([[0.0, 1.0], [0.2, 0.8], [1.0, 0.1], [0.9, 0.0]])
    >>> logme(x, torch.tensor([0, 0, 1, 1])), logme(x, torch.tensor([0, 1, 0, 1]))
    (tensor(-0.3829, dtype=torch.float64), tensor(-1.0664, dtype=torch.float64))
    """
    features = Features.of(features)
    targets = _targets(features, labels)  # [N, T]
    squares, count = features.squares[:, None], features.count
    along = features.project(targets).square()  # [k, T]
    total = targets.square().sum(0)
    beyond = (total - along.sum(0)).clamp(min=0)  # what no direction of the features explains
    exact = beyond <= 1e-12 * total
    if features.rank < count and bool(exact.any()):
        warn(f"logme: features give {int(exact.sum())} of {len(exact)} targets exactly: their evidence has no maximum")
    beyond = torch.maximum(beyond, 1e-15 * total)

    def evidence(log_t: Tensor) -> Tensor:
        t = squares.mean() * log_t.exp()
        residual = beyond + (along * (t / (t + squares))).sum(0)
        return -torch.log1p(squares / t).sum(0) / 2 - count / 2 * (torch.log(2 * math.pi * residual / count) + 1)

    return _maximum(evidence, targets.shape[1], squares).mean() / count


def _targets(features: Features, labels: Tensor) -> Tensor:
    """One column per class, label or target, float64, shape ``[N, T]``."""
    if labels.ndim == 1 and not labels.is_floating_point():
        index, sizes = class_index("logme", labels, features.count)
        return one_hot(index, len(sizes))
    if labels.ndim not in (1, 2) or len(labels) != features.count:
        raise UsageError(f"logme: needs labels [N] or [N, T] for {features.count} samples, got {list(labels.shape)}")
    columns = labels.double().reshape(len(labels), -1)
    check_finite("logme: labels", columns)
    varies = (columns != columns[0]).any(0)
    if not varies.any():
        raise UsageError("logme: no label or target varies over the samples: nothing to predict")
    if not varies.all():
        warn(f"logme: {int((~varies).sum())} of {len(varies)} labels or targets are constant and left out")
    return columns[:, varies]


def _maximum(function: Callable[[Tensor], Tensor], count: int, like: Tensor) -> Tensor:
    """The largest values of ``count`` functions of one number, evaluated together: a grid, then golden sections."""
    half = math.log(10) / 2
    grid = torch.arange(-2 * _DECADES, 2 * _DECADES + 1, dtype=like.dtype, device=like.device) * half
    heights = torch.stack([function(point.expand(count)) for point in grid])
    best = grid[heights.argmax(0)]
    low, high = best - half, best + half
    for _ in range(_STEPS):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        rises = function(left) < function(right)
        low, high = torch.where(rises, left, low), torch.where(rises, high, right)
    return torch.maximum(function((low + high) / 2), heights.amax(0))


INFO = (
    ScoreInfo(
        logme,
        needs=("features", "labels"),
        range="unbounded; 1/N of a log-likelihood",
        summary="evidence of a Bayesian linear model",
        paper="You et al., ICML 2021, arXiv 2102.11005",
        invariances=("scale", "rotation", "names"),
        tasks=("classes", "multi-label", "regression"),
        uninformative="a linear function of the features gives the labels exactly",
    ),
)
