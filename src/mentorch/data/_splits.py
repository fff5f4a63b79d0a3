"""Stratified orders: one permutation whose every beginning has the class proportions of the whole."""

from numbers import Real

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._keys import sample_keys
from mentorch.data._numbers import whole


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A permutation of the rows such that every prefix is stratified by class.

    The r-th sample of a class of n (in random order) is placed at (r + 1/2) / n; sorting by place apportions every
    prefix among the classes by the method of Sainte-Lague. Equal places are ordered at random.

    Args:
        labels: class numbers, int64, shape `[N]`.
        seed: of the random order; the same on every machine, device and version of torch.

    Returns:
        Rows, int64, shape `[N]`.
    """
    shuffled = sample_keys(seed, 0, torch.arange(len(labels))).argsort(stable=True)
    grouped = shuffled[labels[shuffled].argsort(stable=True)]  # class by class, at random inside
    count = labels.bincount()
    first = count.cumsum(0) - count
    rank = torch.arange(len(labels)) - first[labels[grouped]]
    place = torch.empty(len(labels), dtype=torch.float64)
    place[grouped] = (rank.to(torch.float64) + 0.5) / count[labels[grouped]]
    return shuffled[place[shuffled].argsort(stable=True)]


def part_size(what: str, amount: float | int, total: int) -> int:
    """A number of rows from a fraction in [0, 1) or a count in [0, total).

    Raises:
        UsageError: naming ``what``, if it lies outside.
    """
    size = amount * total if isinstance(amount, float) else amount
    number = isinstance(amount, Real) and not isinstance(amount, bool)
    if not number or not 0 <= size < total or round(size) == total:
        raise UsageError(f"{what} must be a fraction in [0, 1) or a count below {total}, not {amount!r}")
    return round(size)


def hold_out(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows kept and rows held out, ``size`` of them and stratified, each in ascending order."""
    order = stratified_order(labels, seed)
    return order[size:].sort().values, order[:size].sort().values


def subset(labels: Tensor, size: int | None, seed: int) -> Tensor:
    """A stratified choice of ``size`` rows, ascending; a smaller choice is part of a larger one. None: all rows.

    Raises:
        UsageError: if ``size`` is not whole, or not in `[1, N]`.
    """
    if size is None:
        return torch.arange(len(labels))
    size = whole("train_size", size)
    if not 1 <= size <= len(labels):
        raise UsageError(f"train_size must lie in [1, {len(labels)}] (what validation leaves), not {size}")
    return stratified_order(labels, seed)[:size].sort().values
