"""How well features name the class, without a classifier."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import unit
from mentorch.metrics._checks import check_features

_SPARE = 8  # candidates beyond k whose distances are computed again, exactly


@dataclass(frozen=True)
class Neighbours:
    """Result of :func:`knn`.

    Attributes:
        accuracy: share of test samples whose vote is right; higher is better.
        log_loss: mean of -log((votes of the true class + 1) / (k + classes)), in nats; lower is better.
    """

    accuracy: float
    log_loss: float


def knn(
    features_train: Tensor,
    labels_train: Tensor,
    features_test: Tensor,
    labels_test: Tensor,
    *,
    k: int = 5,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    chunk: int = 512,
) -> Neighbours:
    """Majority vote of the k nearest training samples, by exact search.

    A tie of votes goes to the tied class that has the nearest sample; of samples equally far, the first counts as
    nearer (unless more than 8 share the k-th distance, when any of them may vote). Distances are computed in float64,
    so that the result does not depend on the chunk.

    Args:
        features_train: shape ``[N, D]``.
        labels_train: any integers, shape ``[N]``.
        features_test: shape ``[M, D]``.
        labels_test: any integers, shape ``[M]``.
        k: neighbours that vote, 1 to N.
        metric: ``euclidean``, or ``cosine`` (Euclidean between unit vectors, which ranks the same).
        chunk: test samples at once; memory only.

    Raises:
        UsageError: for no samples, shapes that do not fit, k out of range, or an unknown metric.
        RunError: if a feature is not finite.

    >>> line, labels = torch.tensor([[0.0], [1.0], [5.0], [6.0]]), torch.tensor([0, 0, 1, 1])
    >>> knn(line, labels, torch.tensor([[0.4], [5.4]]), torch.tensor([0, 1]), k=3).accuracy
    1.0
    """
    check_features("knn", features_train, labels_train, "train")
    check_features("knn", features_test, labels_test, "test")
    if features_train.shape[1] != features_test.shape[1]:
        raise UsageError(f"knn: train features have {features_train.shape[1]} numbers, test {features_test.shape[1]}")
    if not 1 <= k <= len(features_train):
        raise UsageError(f"knn: k must be between 1 and the {len(features_train)} training samples, not {k}")
    if metric not in ("euclidean", "cosine"):
        raise unknown("metric of knn", metric, ("euclidean", "cosine"))
    train, test = features_train.double(), features_test.double()
    if metric == "cosine":
        train, test = unit(train), unit(test)
    classes, labels = torch.unique(torch.cat([labels_train, labels_test]), return_inverse=True)
    known, truth = labels[: len(train)], labels[len(train) :]
    nearest = known[torch.cat(list(_nearest(train, test, k, chunk)))]  # [M, k], classes from near to far
    votes = torch.zeros(len(test), len(classes), dtype=torch.int64, device=test.device)
    votes.scatter_add_(1, nearest, torch.ones_like(nearest))  # [M, K]
    first = votes.gather(1, nearest).argmax(1, keepdim=True)  # the nearest sample whose class has most votes
    choice = nearest.gather(1, first).squeeze(1)
    share = (votes.gather(1, truth[:, None]).double() + 1) / (k + len(classes))
    return Neighbours(float((choice == truth).double().mean()), float(-share.log().mean()))


def _nearest(train: Tensor, test: Tensor, k: int, chunk: int) -> Iterator[Tensor]:
    """Indices of the k nearest training samples, near to far, ``[chunk, k]`` at a time.

    A matrix product finds the candidates, plain differences order them: equal samples then are equally far, bit for
    bit.
    """
    squares = train.square().sum(1)
    for part in torch.split(test, chunk):
        rough = squares - 2 * part @ train.T  # [Q, N], up to a constant per row
        candidates = rough.topk(min(k + _SPARE, len(train)), dim=1, largest=False).indices.sort(1).values
        exact = (train[candidates] - part[:, None]).square().sum(2)
        yield candidates.gather(1, exact.argsort(dim=1, stable=True)[:, :k])
