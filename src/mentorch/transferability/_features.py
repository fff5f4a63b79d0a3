"""Features of one network, with the factorizations that scores share."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability._checks import check_finite
from mentorch.transferability._spectrum import Spectrum, spectrum

_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Features:
    """The features of one network on N samples; any score takes it where it takes a tensor.

    What is expensive is computed when first asked for, in float64, and kept: one spectrum of the smaller Gram matrix
    serves all scores and all labels of these samples.

    Args:
        values: shape ``[N, D]``.

    Raises:
        UsageError: for another shape, or fewer than 2 samples.
        RunError: if a value is not finite, or all samples have the same features.

    >>> features = Features(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    >>> features.squares.tolist()  # of the singular values
    [10.0, 4.0]
    >>> Features.of(features) is features
    True
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise UsageError(
                f"features: needs [N, D], got {list(self.values.shape)}: average maps and tokens over positions first"
            )
        check_finite("features", self.values)
        if len(self.values) < 2:
            raise UsageError("features: needs 2 samples or more, got 1")
        first = self.values[0]
        if bool((self.values[-1] == first).all()) and bool((self.values == first).all()):
            raise RunError("features: the same for all samples: the network has collapsed, or the address is wrong")

    @classmethod
    def of(cls, features: "Tensor | Features") -> "Features":
        """``features`` themselves, or a tensor wrapped."""
        return features if isinstance(features, Features) else cls(features.detach())

    @property
    def count(self) -> int:
        """Samples, N."""
        return self.values.shape[0]

    @property
    def size(self) -> int:
        """Dimensions, D."""
        return self.values.shape[1]

    @cached_property
    def x(self) -> Tensor:
        """The values in float64, shape ``[N, D]``."""
        return self.values.double()

    @cached_property
    def centred(self) -> "Features":
        """The same minus the mean over samples."""
        return Features(self.x - self.x.mean(0))

    @property
    def squares(self) -> Tensor:
        """Squared singular values, largest first, shape ``[k]``; those lost in the rounding of float64 are left out."""
        return self._spectrum.values

    @property
    def rank(self) -> int:
        """How many singular values there are, k."""
        return len(self.squares)

    def project(self, targets: Tensor) -> Tensor:
        """Coordinates of ``targets``, shape ``[N, T]``, along the left singular vectors: ``[k, T]``."""
        if self.count > self.size:
            return self._spectrum.rotate(self.x.mT @ targets) / self.squares.sqrt()[:, None]
        return self._spectrum.rotate(targets)

    @cached_property
    def left(self) -> Tensor:
        """Left singular vectors, shape ``[N, k]``."""
        vectors = self._spectrum.vectors
        return self.x @ vectors / self.squares.sqrt() if self.count > self.size else vectors

    @cached_property
    def coordinates(self) -> Tensor:
        """Principal coordinates, shape ``[N, k]``: the same distances and angles in at most N dimensions."""
        return self.left * self.squares.sqrt()

    @cached_property
    def _spectrum(self) -> Spectrum:
        """Of the smaller of ``X^T X`` and ``X X^T``."""
        gram = _gram(self.x.mT if self.count <= self.size else self.x)
        return spectrum(gram, max(self.count, self.size) * torch.finfo(torch.float64).eps)


def _gram(x: Tensor) -> Tensor:
    """``X^T X``; of its two equal halves one is computed."""
    size = x.shape[1]
    gram = x.new_empty(size, size)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        gram[start:stop, :stop] = x[:, start:stop].mT @ x[:, :stop]
        gram[:start, start:stop] = gram[start:stop, :start].mT
    return gram
