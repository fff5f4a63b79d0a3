"""H-score, and its regularized form."""

import torch
from torch import Tensor

from mentorch.transferability._checks import class_index, one_hot, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo


def h_score(features: Tensor | Features, labels: Tensor, *, tolerance: float = 1e-5) -> Tensor:
    r"""How much of the features' variance lies between the classes, each direction counted in its own unit.

    .. math:: \operatorname{tr} \left( \operatorname{cov}(F)^+ \operatorname{cov}(E[F | y]) \right)

    With centred features of rank N - 1, as always for N <= D, it is C - 1 exactly, whatever the features: it warns.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        tolerance: directions whose singular value is below this share of the largest count as rounding errors of the
            network, which the pseudo-inverse would blow up.

    Returns:
        Between 0 and min(rank, C - 1), higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, or a single class.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning", ICIP 2019,
        arXiv 2212.10082, definition 2.

    >>> x, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> h_score(x, labels), h_score(3 - 10 * x, labels)
    (tensor(0.9412, dtype=torch.float64), tensor(0.9412, dtype=torch.float64))
    """
    features = Features.of(features).centred
    index, sizes = class_index("h_score", labels, features.count)
    kept = features.squares > tolerance**2 * features.squares[0]
    if int(kept.sum()) >= features.count - 1:
        warn(
            f"h_score: is C - 1 = {len(sizes) - 1} for any features of {features.size} dimensions on "
            f"{features.count} samples: take more samples, or regularized_h_score"
        )
    return _between(features, index, sizes)[kept].sum()


def regularized_h_score(features: Tensor | Features, labels: Tensor) -> Tensor:
    r"""The H-score with a covariance shrunk towards a multiple of the identity.

    .. math:: (1 - a) \operatorname{tr} \left( \Sigma_a^{-1} \operatorname{cov}(E[F | y]) \right), \quad
        \Sigma_a = (1 - a) \Sigma + a \mu I, \quad \mu = \operatorname{tr}(\Sigma) / D

    with a as Ledoit and Wolf estimate it. As published, :math:`\Sigma` has the divisor N and the covariance of means
    N - 1. Defined for N <= D too.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.

    Returns:
        At least 0 and at most N / (N - 1) of the H-score's bound, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, or a single class.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Ibrahim, Ponomareva, Mazumder, "Newer is not always better: Rethinking transferability metrics, their
        peculiarities, stability and performance", ECML PKDD 2022, arXiv 2110.06893, section 3.

    >>> x, labels = torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0], [5.0, 1.0]]), torch.tensor([0, 0, 1, 1])
    >>> regularized_h_score(x, labels)
    tensor(1.1403, dtype=torch.float64)
    """
    features = Features.of(features).centred
    index, sizes = class_index("regularized_h_score", labels, features.count)
    count, variances = features.count, features.squares / features.count
    shrinkage, level = _ledoit_wolf(features)
    if shrinkage > 1 - 1e-9:
        warn("regularized_h_score: is 0 for any labels: on so few samples the features look like noise of one size")
    spread = (1 - shrinkage) * variances + shrinkage * level
    share = (1 - shrinkage) * variances / spread * count / (count - 1)
    return (share * _between(features, index, sizes)).sum()


def _between(centred: Features, index: Tensor, sizes: Tensor) -> Tensor:
    """Share of the variance along each principal direction that lies between classes, shape ``[k]``."""
    indicators = one_hot(index, len(sizes)) / sizes.double().sqrt()
    return centred.project(indicators).square().sum(1)


def _ledoit_wolf(centred: Features) -> tuple[Tensor, Tensor]:
    """The shrinkage in [0, 1] and the mean variance per dimension, from norms and singular values alone."""
    count, size = centred.count, centred.size
    variances = centred.squares / count
    level = variances.sum() / size
    second = variances.square().sum()
    spread = second - size * level.square()  # squared distance of the covariance from the multiple of the identity
    fourth = centred.x.square().sum(1).square().sum() / count
    error = torch.minimum(((fourth - second) / count).clamp(min=0), spread)
    return torch.where(spread > 0, error / torch.where(spread > 0, spread, 1.0), 1.0), level


INFO = (
    ScoreInfo(
        h_score,
        needs=("features", "labels"),
        range="[0, min(D, C - 1)]",
        summary="share of variance between classes, each direction in its own unit",
        paper="Bao et al., ICIP 2019, arXiv 2212.10082",
        invariances=("affine", "names"),
        uninformative="the centred features have rank N - 1, as for N <= D",
    ),
    ScoreInfo(
        regularized_h_score,
        needs=("features", "labels"),
        range="[0, min(D, C - 1) N / (N - 1)]",
        summary="H-score with a shrunk covariance",
        paper="Ibrahim et al., ECML PKDD 2022, arXiv 2110.06893",
        invariances=("scale", "shift", "rotation", "names"),
        uninformative="the covariance is shrunk to a multiple of the identity",
    ),
)
