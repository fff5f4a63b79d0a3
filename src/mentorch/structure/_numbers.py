"""Tensors of channel numbers."""

import torch
from torch import Tensor


class Numbered(Tensor):
    """A tensor whose elements are channel numbers; -1 where there is no channel."""

    # the mode of a trace sees every call, once
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def number(x: Tensor) -> Tensor:
    """``x`` as channel numbers."""
    return x.as_subclass(Numbered)


def plain(x: Tensor) -> Tensor:
    """Channel numbers as an ordinary tensor; of any other tensor only its shape, filled with -1."""
    return x.as_subclass(Tensor) if isinstance(x, Numbered) else torch.full(x.shape, -1.0, dtype=torch.float64)


def compact(*tensors: Tensor) -> list[Tensor]:
    """Tensors of one shape, with each dimension along which all of them only repeat themselves reduced to size 1."""
    if not tensors:
        return []
    dims = range(tensors[0].ndim)
    index = tuple(slice(0, 1) if all(x.stride(dim) == 0 for x in tensors) else slice(None) for dim in dims)
    return [x.as_subclass(Tensor)[index] for x in tensors]
