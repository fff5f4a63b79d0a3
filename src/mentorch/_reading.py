"""How a graph reads: inputs where a node lives, parts of a batch, and what an edge's target shows."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mentorch._errors import RunError
from mentorch._tap import Address, select


def bring(inputs: Any, device: torch.device) -> Any:
    """Inputs on a device, whatever holds the tensors."""
    move = functools.partial(torch.Tensor.to, device=device, non_blocking=True)
    return torch.utils._pytree.tree_map_only(Tensor, move, inputs)


def at_least_single(tensor: Tensor) -> Tensor:
    """What losses compute with: half precision is widened, everything else is as it was."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def from_batch(value: Any, address: Address) -> Tensor:
    """The part of a batch that an address names.

    Raises:
        RunError: if the batch has none.
    """
    if value is None:
        raise RunError(f"an edge reads '{address}', but the batch has no {address.root}")
    tensor = select(value, address.path, address)
    # where writing in place cannot be noticed it must not matter; the compiler removes needless copies
    return tensor.clone() if address.root == "inputs" and torch.compiler.is_compiling() else tensor


def read(values: Mapping[str, Tensor], target: str | tuple[str, ...]) -> Any:
    """What the target shows: a tensor, or a tuple of them for several addresses."""
    return values[target] if isinstance(target, str) else tuple(values[text] for text in target)


def full_precision(values: Mapping[str, Tensor]) -> contextlib.AbstractContextManager[object]:
    """Losses are computed in full precision also when the networks ran under autocast."""
    device = next((tensor.device.type for tensor in values.values()), "cpu")
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()
