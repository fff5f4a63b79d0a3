"""How good a ranking of networks is, and how good one can be by luck."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import warn
from mentorch.transferability._ranks import average_ranks

Numbers = Tensor | Sequence[float]


def weighted_tau(scores: Numbers, truth: Numbers) -> float:
    """Kendall's rank correlation where exchanges among the best networks weigh most.

    Weights are hyperbolic, 1 / (rank + 1), additive, by the ranks of both sides in turn, and the two are averaged: the
    default of scipy. A network whose score or truth is NaN is left out, with a warning. It is not odd: reversed scores
    do not have the reversed value.

    Args:
        scores: one per network, shape ``[M]``.
        truth: what the networks reach on the target, shape ``[M]``.

    Returns:
        Between -1 and 1, higher is better; ties count half. NaN, with a warning, where all on one side are equal.

    Raises:
        UsageError: for other lengths, or fewer than 2 networks.

    References:
        Vigna, "A Weighted Correlation Index for Rankings with Ties", WWW 2015, arXiv 1404.3325.

    >>> weighted_tau([0.1, 0.5, 0.9], [70.0, 80.0, 90.0])
    1.0
    """
    from scipy.stats import weightedtau

    first, second = _pair("weighted_tau", scores, truth)
    if _constant("weighted_tau", first, second):
        return math.nan
    return float(weightedtau(first.numpy(), second.numpy()).statistic)


def pearson(scores: Numbers, truth: Numbers) -> float:
    """Linear correlation of scores and truth, between -1 and 1; NaN as for :func:`weighted_tau`.

    >>> round(pearson([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]), 6)
    1.0
    """
    first, second = _pair("pearson", scores, truth)
    if _constant("pearson", first, second):
        return math.nan
    first, second = (x / x.abs().max() for x in (first - first.mean(), second - second.mean()))
    return float(torch.clamp(first @ second / (first.norm() * second.norm()), -1, 1))


def regret(scores: Numbers, truth: Numbers) -> float:
    """What choosing the network with the best score costs: the best truth minus that of the choice; lower is better.

    Of networks with equally good scores one is chosen blindly: the mean of their truths counts.

    >>> regret([0.3, 0.9, 0.9], [70.0, 80.0, 90.0])
    5.0
    """
    first, second = _pair("regret", scores, truth)
    return float(second.max() - second[first == first.max()].mean())


def precision_at(scores: Numbers, relevant: Tensor | Sequence[bool], k: int) -> float:
    """Share of relevant networks among the k best scores; ties at the border count in proportion.

    Args:
        scores: shape ``[M]``.
        relevant: which networks are good, bool, shape ``[M]``.
        k: 1 to M.

    >>> precision_at([3.0, 2.0, 2.0, 1.0], [True, True, False, False], 2)
    0.75
    """
    return _hits(scores, relevant, k) / k


def recall_at(scores: Numbers, relevant: Tensor | Sequence[bool], k: int) -> float:
    """Share of the relevant networks that are among the k best scores; ties at the border count in proportion.

    >>> recall_at([3.0, 2.0, 2.0, 1.0], [True, True, False, False], 2)
    0.75
    """
    return _hits(scores, relevant, k) / int(_flags(relevant).sum())


@dataclass(frozen=True)
class Band:
    """What rankings at random reach.

    Attributes:
        deviation: standard deviation of the weighted tau, whose mean is 0.
        high: what 5 % of them exceed: a lower value is no evidence for a score.
    """

    deviation: float
    high: float


def null_band(networks: int, *, draws: int = 2000, seed: int = 0) -> Band:
    """The weighted tau of random rankings, for a zoo of this size and one target.

    The mean over T targets of one zoo varies less, but not by the root of T: its targets share the networks.

    Args:
        networks: at least 3.
        draws: random rankings.
        seed: of the draws.

    >>> round(null_band(11).high, 1)
    0.5
    """
    from scipy.stats import weightedtau

    if networks < 3 or draws < 20:
        raise UsageError(f"null_band: needs 3 networks and 20 draws or more, got {networks} and {draws}")
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(networks).numpy()
    taus = [
        float(weightedtau(torch.randperm(networks, generator=generator).numpy(), truth).statistic) for _ in range(draws)
    ]
    found = torch.tensor(taus, dtype=torch.float64)
    return Band(float(found.std()), float(found.quantile(0.95)))


def static_baseline(truth: Tensor) -> Tensor:
    """For each target, the mean rank of every network on the other targets: a ranking that never looks at the target.

    What any score has to beat. It knows the fine-tuning results of the same networks elsewhere, which a score does not.

    Args:
        truth: what M networks reach on T > 1 targets, shape ``[M, T]``.

    Returns:
        Higher is better, shape ``[M, T]``.

    Raises:
        UsageError: for another shape, a single target, or a NaN.

    >>> static_baseline(torch.tensor([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0]]))[:, 2]
    tensor([0., 1.], dtype=torch.float64)
    """
    if truth.ndim != 2 or truth.shape[1] < 2 or truth.isnan().any():
        raise UsageError(f"static_baseline: needs a full table [M, T] of 2 targets or more, got {list(truth.shape)}")
    ranks = torch.stack([average_ranks(column) for column in truth.double().unbind(1)], dim=1)
    return (ranks.sum(1, keepdim=True) - ranks) / (truth.shape[1] - 1)


def _pair(name: str, scores: Numbers, truth: Numbers) -> tuple[Tensor, Tensor]:
    """Both sides in float64, on the CPU, without networks that have a NaN."""
    first, second = (torch.as_tensor(x, dtype=torch.float64).cpu() for x in (scores, truth))
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(f"{name}: needs as many scores as truths, got {list(first.shape)} and {list(second.shape)}")
    there = ~(first.isnan() | second.isnan())
    if int(there.sum()) < 2:
        raise UsageError(f"{name}: needs 2 networks or more with a score and a truth, got {int(there.sum())}")
    if not there.all():
        warn(f"{name}: {int((~there).sum())} of {len(there)} networks have no score or no truth and are left out")
    return first[there], second[there]


def _constant(name: str, first: Tensor, second: Tensor) -> bool:
    for what, x in (("scores", first), ("truths", second)):
        if (x == x[0]).all():
            warn(f"{name}: all {len(x)} {what} are equal: there is no ranking")
            return True
    return False


def _flags(relevant: Tensor | Sequence[bool]) -> Tensor:
    flags = torch.as_tensor(relevant, dtype=torch.bool).cpu()
    if not flags.any():
        raise UsageError("precision and recall need a relevant network, got none")
    return flags


def _hits(scores: Numbers, relevant: Tensor | Sequence[bool], k: int) -> float:
    """Expected number of relevant networks among the k best when ties are broken blindly."""
    values, flags = torch.as_tensor(scores, dtype=torch.float64).cpu(), _flags(relevant)
    if values.shape != flags.shape or values.ndim != 1:
        raise UsageError(f"precision and recall need [M] and [M], got {list(values.shape)} and {list(flags.shape)}")
    if values.isnan().any():
        raise UsageError(f"precision and recall need scores, got NaN for {int(values.isnan().sum())} networks")
    if not 1 <= k <= len(values):
        raise UsageError(f"precision and recall: k must be between 1 and the {len(values)} networks, not {k}")
    border = values.sort(descending=True).values[k - 1]
    above, tied = values > border, values == border
    return float(flags[above].sum() + flags[tied].double().mean() * (k - above.sum()))
