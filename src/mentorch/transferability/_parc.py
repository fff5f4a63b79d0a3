"""Pairwise annotation representation comparison."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import unit
from mentorch.transferability._checks import class_index, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._ranks import off_diagonal, standard_ranks


def parc(features: Tensor | Features, labels: Tensor, *, components: int | None = None) -> Tensor:
    r"""Whether samples of one class have more similar features than samples of different classes.

    .. math:: \operatorname{Spearman}_{i < j} \left( 1 - \operatorname{corr}(f_i, f_j), \; [y_i \ne y_j] \right)

    with every feature standardized first, and average ranks: half of all pairs and more are tied on the side of labels.
    Takes the memory of some N x N matrices.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        components: reduce to so many principal components first (published: 32), or do not. Their signs, which matter
            to a correlation across them, make the largest loading of each positive, as scikit-learn does.

    Returns:
        Between -1 and 1, higher is better; a float64 scalar. (Published in percent.)

    Raises:
        UsageError: for shapes that do not fit, fewer than 2 dimensions, a single class, or no two samples of one class.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Bolya, Mittapalli, Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning", NeurIPS 2021,
        arXiv 2111.06977, section 4.

    >>> x = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0], [2.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    >>> parc(x, torch.tensor([0, 0, 1, 1])) > parc(x, torch.tensor([0, 1, 0, 1]))
    tensor(True)
    """
    features = Features.of(features)
    index, sizes = class_index("parc", labels, features.count)
    if len(sizes) == features.count:
        raise UsageError(f"parc: all {features.count} samples are of different classes: no pair to compare with")
    x = features.x if components is None else _components(features.centred, components)
    if x.shape[1] < 2:
        raise UsageError("parc: correlates the features of samples, which needs 2 dimensions or more, got 1")
    x = x - x.mean(0)
    deviation = x.square().mean(0).sqrt()
    varies = deviation > 1e-12 * deviation.max()
    x = torch.where(varies, x / torch.where(varies, deviation, 1.0), 0.0)
    x = unit(x - x.mean(1, keepdim=True))
    apart = standard_ranks(1 - off_diagonal(x @ x.mT))
    differs = standard_ranks((off_diagonal(index[:, None] - index[None]) != 0).double())
    if not apart.any():
        warn("parc: all pairs of samples are equally far apart")
    return apart @ differs


def _components(centred: Features, count: int) -> Tensor:
    """The leading principal components with signs of their own, shape ``[N, count]``."""
    x = centred.coordinates[:, :count]
    loadings = centred.x.mT @ x  # [D, count]
    return x * loadings.gather(0, loadings.abs().argmax(0, keepdim=True)).sign()


INFO = (
    ScoreInfo(
        parc,
        needs=("features", "labels"),
        range="[-1, 1]",
        summary="rank correlation of distances between samples with differences of class",
        paper="Bolya et al., NeurIPS 2021, arXiv 2111.06977",
        invariances=("scale", "shift", "units", "names"),
        uninformative="all pairs of samples are equally far apart",
    ),
)
