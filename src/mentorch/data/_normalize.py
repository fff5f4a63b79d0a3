"""Normalisation as a view of the inputs: teacher and student may each have their own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: one value per channel, for inputs in [0, 1].
        std: one positive value per channel.

    Raises:
        UsageError: if the lengths differ or a deviation is not positive; in ``forward``, if the inputs are integers
            or have another number of channels.

    >>> view = Normalize((0.5,), (0.25,))
    >>> view(torch.ones(2, 1, 3, 3)).unique()
    tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise UsageError(
                f"Normalize needs one mean and one positive std per channel, not {tuple(mean)} and {tuple(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])  # [C, 1, 1]
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Normalised ``images``, shape `[N, C, H, W]` or `[C, H, W]`."""
        self._check(images)
        return (images - self.mean) / self.std

    def inverse(self, images: Tensor) -> Tensor:
        """Undo ``forward``, for pictures: the same shape, back in [0, 1]."""
        self._check(images)
        return images * self.std + self.mean

    def _check(self, images: Tensor) -> None:
        if not images.is_floating_point():
            raise UsageError(f"Normalize expects floating-point images in [0, 1], got {images.dtype}: divide by 255")
        if images.ndim < 3 or images.shape[-3] != len(self.mean):
            raise UsageError(f"Normalize expects {len(self.mean)} channels, got images of shape {tuple(images.shape)}")

    def extra_repr(self) -> str:
        mean, std = ([round(v, 4) for v in values.flatten().tolist()] for values in (self.mean, self.std))
        return f"mean={mean}, std={std}"
