"""What a network is, in 64 characters."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError


def state_hash(module: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every entry of the state, whatever the order and the device.

    Two modules have the same hash when their parameters and persistent buffers agree bit for bit.

    Raises:
        UsageError: if the state holds something that is not a tensor.

    >>> state_hash(nn.Identity())[:8]
    'e3b0c442'
    """
    return hash_tensors(module.state_dict())


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """`state_hash` of tensors by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        if not isinstance(tensor, Tensor):
            raise UsageError(f"{name!r} in the state is {type(tensor).__name__}, not a tensor: it cannot be hashed")
        # the lengths are implied by dtype and shape, so no two states share one stream of bytes
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        held: Any = tensor.detach()
        whole = held.full_tensor() if hasattr(held, "full_tensor") else held  # sharded: every process must ask
        flat = whole.cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
