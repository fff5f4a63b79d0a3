"""Self-challenging Fisher discriminant analysis."""

import torch
from torch import Tensor

from mentorch.transferability._checks import class_index, one_hot, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_POWER_STEPS = 3


def sfda(features: Tensor | Features, labels: Tensor) -> Tensor:
    r"""How sure a regularized discriminant analysis is of the right class after its samples were made harder.

    First fit, posterior p: shared covariance :math:`(1 - s) S_w + s \mu I`, :math:`s = \max(e^{-5 \lambda}, 10^{-10})`,
    with :math:`\lambda` the largest eigenvalue of :math:`S_w`, estimated by three steps of the power method. Then each
    sample moves towards the mean of all samples of other classes, :math:`x \leftarrow q x + (1 - q) \bar x_{\ne y}`,
    with q the entry of :math:`\operatorname{softmax}(p)` at y. Second fit with the same s; the score is the mean
    posterior of the true class (as in public code, without logarithm).

    It depends on the scale of the features, and is 1 for most features with N <= D: it warns. The input is not changed.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.

    Returns:
        Between 0 and 1, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, or a single class.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Shao et al., "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher Space",
        ECCV 2022, arXiv 2207.03036, equations 3 to 9.

    >>> x, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> sfda(x, labels) > sfda(x, torch.tensor([0, 1, 0, 1]))
    tensor(True)
    """
    features = Features.of(features).centred
    index, sizes = class_index("sfda", labels, features.count)
    if features.rank >= features.count - 1:
        warn(
            f"sfda: {features.count} samples span no more than {features.size} dimensions: "
            "they can be told apart whatever their labels"
        )
    x = features.x if features.count > features.size else features.coordinates
    indicators, counts = one_hot(index, len(sizes)), sizes.double()[:, None]
    means = indicators.mT @ x / counts
    shrinkage = (-5 * _largest(_within(x, means, index), features)).exp().clamp(min=1e-10)
    first = _posterior(x, means, index, counts, shrinkage, features.size)
    keep = first.softmax(1).gather(1, index[:, None])
    others = (x.sum(0) - counts * means) / (len(x) - counts)
    harder = keep * x + (1 - keep) * others[index]
    moved = indicators.mT @ harder / counts
    return _posterior(harder, moved, index, counts, shrinkage, features.size).gather(1, index[:, None]).mean()


def _within(x: Tensor, means: Tensor, index: Tensor) -> Tensor:
    """Covariance within classes, divisor N, shape ``[d, d]``."""
    inside = x - means[index]
    return inside.mT @ inside / len(x)


def _largest(within: Tensor, features: Features) -> Tensor:
    """The published estimate of the largest eigenvalue: steps of the power method from the sum of the columns."""
    if features.count > features.size:
        x = within.sum(1)
    else:  # in principal coordinates the vector of ones looks different
        ones = features.x.new_ones(features.size)
        x = within @ ((features.left.mT @ (features.x @ ones)) / features.squares.sqrt())
    y = x
    for _ in range(_POWER_STEPS):
        y = torch.nn.functional.normalize(within @ x, dim=0, eps=1e-300)
        x = torch.nn.functional.normalize(within @ y, dim=0, eps=1e-300)
    return x @ within @ y


def _posterior(x: Tensor, means: Tensor, index: Tensor, counts: Tensor, shrinkage: Tensor, size: int) -> Tensor:
    """Probabilities of the classes by linear discriminant analysis, shape ``[N, C]``."""
    within = _within(x, means, index)
    level = within.trace() / size
    spread = (1 - shrinkage) * within + shrinkage * level * torch.eye(len(within), dtype=x.dtype, device=x.device)
    values, vectors = torch.linalg.eigh(spread)
    values = values.clamp(min=values[-1] * 1e-15 + 1e-300)  # a perfect fit has no spread at all
    weights = (means @ vectors / values) @ vectors.mT  # [C, d]
    offset = (counts[:, 0] / len(x)).log() - (means * weights).sum(1) / 2
    logits: Tensor = x @ weights.mT + offset
    return logits.softmax(1)


INFO = (
    ScoreInfo(
        sfda,
        needs=("features", "labels"),
        range="[0, 1]",
        summary="posterior of the true class after hard samples were mixed with others",
        paper="Shao et al., ECCV 2022, arXiv 2207.03036",
        invariances=("shift", "names"),
        uninformative="the centred features have rank N - 1, as for N <= D",
    ),
)
