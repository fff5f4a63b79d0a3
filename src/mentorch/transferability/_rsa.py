"""Representation similarity analysis."""

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch._math import unit
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._ranks import off_diagonal, standard_ranks


def rsa(features: Tensor | Features, reference: Tensor | Features) -> Tensor:
    r"""Whether two networks rank pairs of samples by similarity alike.

    .. math:: \operatorname{Spearman}_{i < j} \left( 1 - \operatorname{corr}(f_i, f_j),
        1 - \operatorname{corr}(g_i, g_j) \right)

    Args:
        features: of the candidate, shape ``[N, D]``, D > 1.
        reference: of a network that is good at the target, on the same samples, shape ``[N, D']``, D' > 1.

    Returns:
        Between -1 and 1, higher is better; a float64 scalar.

    Raises:
        UsageError: for other numbers of samples, fewer than 3, or a single dimension.
        RunError: if a feature is not finite, or all pairs of samples are equally similar.

    References:
        Dwivedi, Roig, "Representation Similarity Analysis for Efficient Task Taxonomy & Transfer Learning", CVPR 2019,
        arXiv 1904.11740, section 3.

    >>> x = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 0.0], [1.0, 5.0, 9.0], [4.0, 4.0, 1.0]])
    >>> round(rsa(x, 2 * x).item(), 6)
    1.0
    """
    features, reference = Features.of(features), Features.of(reference)
    if features.count != reference.count:
        raise UsageError(f"rsa: {features.count} samples of the candidate, {reference.count} of the reference")
    if features.count < 3:
        raise UsageError(f"rsa: ranks pairs of samples, which needs 3 samples or more, got {features.count}")
    return _dissimilarity("features", features.x) @ _dissimilarity("reference", reference.x)


def _dissimilarity(name: str, x: Tensor) -> Tensor:
    if x.shape[1] < 2:
        raise UsageError(f"rsa: {name}: correlating samples needs 2 dimensions or more, got 1")
    x = unit(x / x.abs().max() - (x / x.abs().max()).mean(1, keepdim=True))
    ranks = standard_ranks(1 - off_diagonal(x @ x.mT))
    if not torch.any(ranks):
        raise RunError(f"rsa: {name}: all pairs of samples are equally similar")
    return ranks


INFO = (
    ScoreInfo(
        rsa,
        needs=("features", "reference"),
        range="[-1, 1]",
        summary="rank correlation of dissimilarities with those of a reference",
        paper="Dwivedi, Roig, CVPR 2019, arXiv 1904.11740",
        invariances=("scale",),
    ),
)
