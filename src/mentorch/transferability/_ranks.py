"""Ranks with ties, and what correlates them."""

import torch
from torch import Tensor

_DIGITS = 10  # values that agree in so many decimals of their largest count as equal


def average_ranks(x: Tensor) -> Tensor:
    """Rank of each entry, from 0, equal ones sharing the mean of theirs; float64, shape ``[n]``.

    >>> average_ranks(torch.tensor([0.5, 2.0, 0.5, 1.0]))
    tensor([0.5000, 3.0000, 0.5000, 2.0000], dtype=torch.float64)
    """
    _, group, sizes = torch.unique(x, return_inverse=True, return_counts=True)
    last = sizes.cumsum(0)
    ranks: Tensor = (last - (sizes + 1) / 2.0).double()
    return ranks[group]


def standard_ranks(x: Tensor) -> Tensor:
    """Ranks minus their mean, divided by their length: the inner product of two is Spearman's correlation.

    Values that differ by rounding alone are ties. Where all are tied, zeros.
    """
    size = x.abs().max()
    ranks = average_ranks(torch.round(x / torch.where(size > 0, size, 1.0), decimals=_DIGITS))
    ranks = ranks - (len(ranks) - 1) / 2
    length = ranks.norm()
    return torch.where(length > 0, ranks / torch.where(length > 0, length, 1.0), 0.0)


def off_diagonal(square: Tensor) -> Tensor:
    """The pairs ``i < j`` of a symmetric matrix, row by row, shape ``[n (n - 1) / 2]``."""
    i, j = torch.triu_indices(len(square), len(square), offset=1, device=square.device)
    return square[i, j]
