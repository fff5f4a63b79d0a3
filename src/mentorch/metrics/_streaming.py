"""Measurements that add up: over batches of any size, and over processes."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Scores = TypeVar("Scores")


class Streaming(Generic[Scores]):
    """A metric of a whole data set as sums over its pixels, so that nobody has to hold the data at once.

    The result does not depend on how the data are divided into batches, or into processes. `segmentation`, `depth` and
    `normals` make one.

    Args:
        count: ``count(prediction, target)`` -> what a batch adds to the sums.
        finish: sums -> result, plain numbers.
        zeros: the sums of no data; their shape and dtype.
    """

    def __init__(
        self, count: Callable[[Tensor, Tensor], Tensor], finish: Callable[[Tensor], Scores], zeros: Tensor
    ) -> None:
        self._count, self._finish = count, finish
        self.sums = zeros

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch; the sums go where it is, and the host does not wait for the device.

        Raises:
            UsageError: for shapes that do not fit.
        """
        with torch.no_grad():
            self.sums = self.sums.to(target.device) + self._count(prediction, target)

    def compute(self) -> Scores:
        """The result over everything since the beginning, or since `reset`; of this process alone."""
        return self._finish(self.sums.cpu())

    def reset(self) -> None:
        """Forget everything."""
        self.sums = torch.zeros_like(self.sums)

    def reduce(self) -> None:
        """Add up the sums of all processes, in all of them; once, after the last batch. Alone, nothing happens.

        Every process must call it, also one that saw no batch (``to`` then puts its sums onto its device).
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.sums = self.sums.contiguous().clone()
            torch.distributed.all_reduce(self.sums)

    def to(self, device: torch.device | str) -> "Streaming[Scores]":
        """Itself, with its sums on a device."""
        self.sums = self.sums.to(device)
        return self
