"""The smaller network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.structure._spaces import Plan
from mentorch.structure._split import SCHEMA, Split, shapes_hash
from mentorch.structure._trace import with_tensors

Shapes = Mapping[str, tuple[int, ...]]


def slim(network: nn.Module, split: Split) -> nn.Module:
    """The network that is left of ``network``: the same modules, smaller layers, tensors of its own.

    Where the reset part of ``network`` is zero the two compute the same. Hooks do not come along.

    Raises:
        UsageError: if the split is by weights, or of another network.

    >>> from mentorch.structure import plan, split
    >>> network = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> slim(network, split(plan(network, torch.zeros(1, 4)), keep=0.5))
    Sequential(
      (0): Linear(in_features=4, out_features=5, bias=True)
      (1): ReLU()
      (2): Linear(in_features=5, out_features=3, bias=True)
    )
    """
    split.require_channels()
    check_network(network, split.plan)
    small = with_tensors(network, lambda name, tensor: split.take(name, tensor.detach()))
    return with_attributes(small, split.attributes)


def resize(network: nn.Module, recipe: Mapping[str, Any]) -> nn.Module:
    """A smaller network from what its builder made and the recipe of a split: shapes, not yet the weights.

    Layers whose shape changes draw their weights anew, by their own law; everything else is copied. ``network`` may lie
    on the meta device, where it takes no memory: the result then lies on the CPU.

    Args:
        network: as its builder makes it, with any weights.
        recipe: of `Split.recipe`, as it went through JSON or not.

    Raises:
        RunError: if the recipe is damaged, or was made for another network.
    """
    shapes = _read_shapes(network, recipe)

    def make(name: str, tensor: Tensor) -> Tensor:
        device = torch.device("cpu") if tensor.is_meta else tensor.device
        if shapes.get(name, tuple(tensor.shape)) == tuple(tensor.shape) and not tensor.is_meta:
            return tensor.detach().clone()
        return torch.zeros(shapes.get(name, tensor.shape), dtype=tensor.dtype, device=device)

    small = with_attributes(with_tensors(network, make), recipe["attributes"])
    changed = {name.rpartition(".")[0] for name in shapes}
    for path, module in small.named_modules():
        redraw = getattr(module, "reset_parameters", None)
        own = next(network.get_submodule(path).parameters(recurse=False), None)
        if callable(redraw) and (path in changed or (own is not None and own.is_meta)):
            redraw()
    return small


def check_network(network: nn.Module, plan: Plan) -> None:
    """Raise UsageError unless ``plan`` was made for networks with the tensors of ``network``."""
    if difference := _difference(shapes_of(network), plan.shapes):
        raise UsageError(f"the plan is of another network: {difference}")


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and buffer."""
    return {name: tuple(x.shape) for name, x in (*network.named_parameters(), *network.named_buffers())}


def _difference(own: Shapes, planned: Shapes) -> str | None:
    names = [*planned, *(name for name in own if name not in planned)]
    name = next((name for name in names if own.get(name) != planned.get(name)), None)
    return name and f"{name!r} has shape {own.get(name, 'none')}, planned {planned.get(name, 'none')}"


def _read_shapes(network: nn.Module, recipe: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    if not isinstance(recipe, Mapping) or recipe.get("schema") != SCHEMA:
        raise RunError(f"this is no recipe of a smaller network: its schema is not {SCHEMA!r}")
    try:
        shapes = {str(name): tuple(int(n) for n in shape) for name, shape in recipe["shapes"].items()}
        network_hash, _ = recipe["network"], dict(recipe["attributes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"the recipe of a smaller network is damaged: {error!r}") from error
    own = shapes_of(network)
    if shapes_hash(own) != network_hash:
        raise RunError(f"the recipe is of another network than this {type(network).__name__}: names or shapes differ")
    return shapes


def with_attributes(network: nn.Module, attributes: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """``network`` with the attributes and the layer sizes that belong to its tensors."""
    for path, values in attributes.items():
        for name, value in values.items():
            setattr(network.get_submodule(path), name, value)
    for module in network.modules():
        for name, value in _sizes(module).items():
            setattr(module, name, value)
    return network


def _sizes(module: nn.Module) -> dict[str, int]:
    """What a layer of torch says about its size, from the shape of its weight."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.batchnorm._NormBase):
        held = next((x for x in (module.weight, module.running_mean) if x is not None), None)
        return {} if held is None else {"num_features": len(held)}
    if not isinstance(weight, Tensor):
        return {}
    if isinstance(module, nn.Linear):
        return {"out_features": weight.shape[0], "in_features": weight.shape[1]}
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return {"in_channels": weight.shape[0], "out_channels": weight.shape[1] * module.groups}
    if isinstance(module, nn.modules.conv._ConvNd):
        return {"out_channels": weight.shape[0], "in_channels": weight.shape[1] * module.groups}
    return {"num_parameters": len(weight)} if isinstance(module, nn.PReLU) else {}
