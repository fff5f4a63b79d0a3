"""How well features find samples of the same class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch._math import unit
from mentorch.metrics._checks import check_features

_PUBLIC_BATCH = 128
_CELLS = 2**22  # similarities held at once


@dataclass(frozen=True)
class Retrieval:
    """Result of :func:`retrieval`; every number is a mean over queries in [0, 1], higher is better.

    Attributes:
        precision: share of relevant samples among the first k, by k.
        interpolated: 11-point interpolated average precision, the "mAP" of the literature on this task.
        average_precision: plain average precision, the mean of the precision at every relevant sample.
    """

    precision: Mapping[int, float]
    interpolated: float
    average_precision: float


def retrieval(
    features_train: Tensor,
    labels_train: Tensor,
    features_test: Tensor,
    labels_test: Tensor,
    *,
    at: Sequence[int] = (10, 50, 200),
    protocol: Literal["exact", "public"] = "exact",
) -> Retrieval:
    r"""Rank the training samples by cosine for every test sample; relevant are those of its class.

    .. math:: p_{int}(\rho) = \max_{recall(r) \ge \rho} precision(r), \quad AP_{11} = mean_{\rho = 0, 0.1 .. 1}
    p_{int}(\rho)

    Of equally similar samples the first ranks higher. A query whose class has no training sample scores 0.

    Args:
        features_train: shape ``[N, D]``.
        labels_train: any integers, shape ``[N]``.
        features_test: shape ``[M, D]``.
        labels_test: any integers, shape ``[M]``.
        at: depths k of the precision, each 1 to N.
        protocol: ``exact``; or ``public``, as the published numbers were computed: batches of 128 queries,
            interpolation over only as many first ranks as the batch has queries, at the recall nearest to each level.
            It changes ``interpolated`` alone.

    Raises:
        UsageError: for no samples, shapes that do not fit, a depth out of range, or an unknown protocol.
        RunError: if a feature is not finite.

    References:
        Passalis, Tefas, ECCV 2018, arXiv 1803.10837, section 4 (the protocol).

    >>> base, labels = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    >>> retrieval(base, labels, torch.tensor([[0.0, 2.0]]), torch.tensor([1]), at=[1, 3])
    Retrieval(precision={1: 1.0, 3: 0.6666666666666666}, interpolated=1.0, average_precision=1.0)
    """
    check_features("retrieval", features_train, labels_train, "train")
    check_features("retrieval", features_test, labels_test, "test")
    if features_train.shape[1] != features_test.shape[1]:
        raise UsageError(
            f"retrieval: train has {features_train.shape[1]} numbers a sample, test {features_test.shape[1]}"
        )
    for depth in at:
        if not 1 <= depth <= len(features_train):
            raise UsageError(f"retrieval: cannot look at the first {depth} of {len(features_train)} training samples")
    if protocol not in ("exact", "public"):
        raise unknown("protocol of retrieval", protocol, ("exact", "public"))
    train, test = unit(features_train.double()), unit(features_test.double())
    chunk = _PUBLIC_BATCH if protocol == "public" else max(1, _CELLS // len(train))
    interpolate = _interpolated_public if protocol == "public" else _interpolated
    sums = torch.zeros(2 + len(at), dtype=torch.float64, device=test.device)
    for queries, labels in zip(torch.split(test, chunk), torch.split(labels_test, chunk), strict=True):
        relevant = labels_train[_ranking(queries, train)] == labels[:, None]  # [Q, N]
        hits = relevant.cumsum(1)
        precision = hits.double() / torch.arange(1, len(train) + 1, device=test.device)
        plain = (precision * relevant).sum(1) / hits[:, -1].clamp(min=1)
        rows = [interpolate(precision, hits), plain, *(precision[:, depth - 1] for depth in at)]
        sums += torch.stack([row.sum() for row in rows])
    interpolated, plain_mean, *precisions = (sums / len(test)).tolist()
    return Retrieval(dict(zip(at, precisions, strict=True)), interpolated, plain_mean)


def _ranking(queries: Tensor, base: Tensor) -> Tensor:
    """Indices from most to least similar; rounding makes equal samples tie whatever the shape of the product."""
    similarity = (queries @ base.T).mul_(2**40).round_()
    return similarity.argsort(dim=1, descending=True, stable=True)


def _interpolated(precision: Tensor, hits: Tensor) -> Tensor:
    """Mean over the eleven levels of the best precision from that recall on, shape ``[Q]``."""
    best = precision.flip(1).cummax(1).values.flip(1)
    total = hits[:, -1:]
    levels = torch.arange(11, device=hits.device) * total  # [Q, 11]: ten times the hits that a level needs
    reached = torch.searchsorted(hits * 10, levels)
    return best.gather(1, reached).mean(1) * (total.squeeze(1) > 0)


def _interpolated_public(precision: Tensor, hits: Tensor) -> Tensor:
    """The same with the two shortcuts of the published evaluation, shape ``[Q]``."""
    depth = min(len(precision), precision.shape[1])
    best = torch.cat([precision[:, :depth].flip(1).cummax(1).values.flip(1), precision[:, depth:]], dim=1)
    total = hits[:, -1:]
    recall = hits.double() / total.clamp(min=1)
    nearest = [(recall - level / 10).abs().argmin(1) for level in range(11)]
    return best.gather(1, torch.stack(nearest, dim=1)).mean(1) * (total.squeeze(1) > 0)
