"""Which channels cannot be told apart by cutting: a union-find over channel numbers."""

import torch
from torch import Tensor


class Ties:
    """Channel numbers, and which of them stand for the same channel. The smallest of a set is its root."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def fresh(self, count: int) -> Tensor:
        """``count`` new channels, shape `[count]`."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return torch.arange(start, start + count)

    def find(self, number: int) -> int:
        """The root of ``number``."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie two tensors of numbers, of one shape, pairwise; negative numbers are no channels."""
        base = len(self._parent) + 1
        pairs = (first.long() * base + second.long())[(first >= 0) & (second >= 0)]
        for pair in distinct(pairs):
            a, b = self.find(pair // base), self.find(pair % base)
            self._parent[max(a, b)] = min(a, b)

    def roots(self, numbers: Tensor) -> Tensor:
        """The root of every number; negative numbers stay as they are."""
        table = torch.arange(-1, len(self._parent))
        for value in distinct(numbers):
            if value >= 0:
                table[value + 1] = self.find(value)
        return table[numbers.long() + 1]


def distinct(numbers: Tensor) -> list[int]:
    """Every number once, in ascending order."""
    ordered = numbers.long().flatten().sort().values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    kept: list[int] = ordered[first].tolist()
    return kept
