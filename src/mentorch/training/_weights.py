"""What is done with all weights of a network at once; some may be sharded (``torch.distributed.fsdp.fully_shard``)."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no element is NaN or infinite; of what is sharded, no element of the own part."""
    finite = [_own(tensor.detach()).isfinite().all() for tensor in tensors]
    return not finite or bool(torch.stack(finite).all())


@torch.no_grad()
def update_average(average: nn.Module, node: nn.Module, decay: float) -> None:
    """Move a moving average of weights towards those of a node; buffers are taken as they are."""
    mine: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(node.parameters())
    torch._foreach_lerp_(mine, theirs, 1.0 - decay)
    for own, other in zip(average.buffers(), node.buffers(), strict=True):
        own.copy_(other)


def copied(node: nn.Module) -> dict[str, Any]:
    """The state as it is now, whole, on the CPU; a module may keep more in it than tensors (``get_extra_state``)."""
    return {
        name: whole(value.detach()).cpu().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in node.state_dict().items()
    }


def fill(node: nn.Module, state: Mapping[str, Any]) -> None:
    """Load whole weights, of which what is sharded takes its part."""
    own = node.state_dict()
    node.load_state_dict({name: part(value, own[name]) if name in own else value for name, value in state.items()})


def sharded(node: nn.Module) -> bool:
    """Whether this process holds only a part of a network."""
    return any(is_part(parameter) for parameter in node.parameters())


def is_part(tensor: Tensor) -> bool:
    """Whether this process holds only a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def whole(value: Any) -> Any:
    """Nested plain data in which sharded tensors are whole; every process must ask for it."""
    return torch.utils._pytree.tree_map_only(Tensor, lambda x: x.full_tensor() if is_part(x) else x, value)


def part(value: Tensor, as_in: Tensor) -> Tensor:
    """What this process holds of a whole tensor, sharded as another one is; the tensor itself where that one is not."""
    if not is_part(as_in) or value.shape != as_in.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    place: Any = as_in
    return distribute_tensor(value.to(as_in.device), place.device_mesh, place.placements)


def _own(tensor: Tensor) -> Tensor:
    held: Any = tensor
    return held.to_local() if is_part(tensor) else tensor
