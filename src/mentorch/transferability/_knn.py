"""Nearest neighbours, each sample left out in turn."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import class_index, warn_lonely
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_CELLS = 2**22  # distances held at once
_DIGITS = 12


def knn(features: Tensor | Features, labels: Tensor, *, k: int = 1) -> Tensor:
    """Share of samples whose class the k nearest other samples name, by Euclidean distance and majority.

    A tie of votes goes to the tied class that has the nearest sample; of samples equally far, the first is nearer.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        k: neighbours that vote, 1 to N - 1.

    Returns:
        Between 0 and 1, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, a single class, or k out of range.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        The baseline of Bolya et al., NeurIPS 2021, arXiv 2111.06977.

    >>> knn(torch.tensor([[0.0], [1.0], [5.0], [6.0], [7.0]]), torch.tensor([0, 0, 1, 1, 0]))
    tensor(0.8000, dtype=torch.float64)
    """
    features = Features.of(features)
    index, sizes = class_index("knn", labels, features.count)
    if not 1 <= k < features.count:
        raise UsageError(f"knn: k must be between 1 and {features.count - 1}, one less than the samples, not {k}")
    warn_lonely("knn", sizes)
    x = features.x - features.x.mean(0)
    lengths = x.square().sum(1)
    rows = max(1, _CELLS // len(x))
    parts = torch.split(torch.arange(len(x), device=x.device), rows)
    chosen = torch.cat([_vote(x, lengths, index, part, k, len(sizes)) for part in parts])
    return (chosen == index).double().mean()


def _vote(x: Tensor, lengths: Tensor, index: Tensor, part: Tensor, k: int, classes: int) -> Tensor:
    """What the neighbours of the samples ``part`` choose."""
    distances = (lengths[part, None] + lengths - 2 * x[part] @ x.mT) / lengths.max()
    distances = distances.round(decimals=_DIGITS)  # so that equal samples are equally far
    distances[torch.arange(len(part), device=x.device), part] = torch.inf
    nearest = index[distances.argsort(dim=1, stable=True)[:, :k]]  # [Q, k], classes from near to far
    votes = torch.nn.functional.one_hot(nearest, classes).sum(1)
    return nearest.gather(1, votes.gather(1, nearest).argmax(1, keepdim=True))[:, 0]


INFO = (
    ScoreInfo(
        knn,
        needs=("features", "labels"),
        range="[0, 1]",
        summary="leave-one-out accuracy of the nearest neighbours",
        paper="baseline of Bolya et al., NeurIPS 2021, arXiv 2111.06977",
        invariances=("scale", "shift", "rotation", "names"),
        uninformative="classes have a single sample",
    ),
)
