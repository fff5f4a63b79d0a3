"""How the tensor at one address is written into a row of bytes."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import RunError, UsageError

ALIGNED = 8
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Column:
    """The encoding of one value per sample, of a fixed shape.

    Args:
        address: where it is read, for errors.
        shape: of one sample's value.
        dtype: floating point; values are rounded to it.
        top_k: keep only the largest so many of a vector of logits, and how much probability the others have together.

    Raises:
        UsageError: if ``top_k`` does not leave something out of a vector.
    """

    address: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and (len(self.shape) != 1 or not 1 <= self.top_k < self.shape[0]):
            raise UsageError(
                f"top_k={self.top_k} of {self.address!r}: only from a vector of more logits, not shape {self.shape}"
            )

    @property
    def size(self) -> int:
        """Bytes per row."""
        values = self.dtype.itemsize * (math.prod(self.shape) if self.top_k is None else self.top_k + 1)
        return _aligned(values) + (0 if self.top_k is None else _aligned(4 * self.top_k))

    def encode(self, values: Tensor) -> Tensor:
        """Values on the CPU, shape `[N, *shape]`, as bytes, uint8, shape `[N, size]`.

        Raises:
            RunError: for values of another shape, or that are not finite in ``dtype``.
        """
        if values.shape[1:] != self.shape:
            raise RunError(f"{self.address!r} changed its shape from {list(self.shape)} to {list(values.shape[1:])}")
        rows = values.flatten(1) if values.ndim > 1 else values[:, None]  # [N, D]
        rows = rows.to(torch.promote_types(values.dtype, torch.float32))
        if self.top_k is None:
            parts = [rows.to(self.dtype)]
        else:
            largest, which = rows.topk(self.top_k, dim=1)
            others = rows.scatter(1, which, -math.inf).logsumexp(dim=1, keepdim=True)
            level = others - math.log(self.shape[0] - self.top_k)  # one logit for all the others
            parts = [torch.cat([largest, level], dim=1).to(self.dtype), which.to(torch.int32)]
        if not parts[0].isfinite().all():
            raise RunError(
                f"{self.address!r} is not finite in {_name(self.dtype)}: its network, or dtype=, is at fault"
            )
        return torch.cat(
            [_padded(part.clone(memory_format=torch.contiguous_format).view(torch.uint8)) for part in parts], dim=1
        )

    def decode(self, data: Tensor) -> Tensor:
        """The values in ``data``, shape `[N, *shape]`, float32 or the float64 that was kept, where ``data`` is."""
        single = torch.float64 if self.dtype == torch.float64 else torch.float32
        if self.top_k is None:
            width = self.dtype.itemsize * math.prod(self.shape)
            values = data[:, :width].view(self.dtype).to(single)
            return values.contiguous().view(-1, *self.shape)  # always with these strides: compiled code asks
        width = self.dtype.itemsize * (self.top_k + 1)
        values = data[:, :width].view(self.dtype).to(single)
        which = data[:, _aligned(width) :][:, : 4 * self.top_k].view(torch.int32).long()
        return values[:, -1:].repeat(1, self.shape[0]).scatter(1, which, values[:, :-1])


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _padded(part: Tensor) -> Tensor:
    return F.pad(part, (0, _aligned(part.shape[1]) - part.shape[1]))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
