"""The smaller network."""

from collections.abc import Mapping

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._freeze import is_frozen, thawed
from mentorch.structure._spaces import Plan
from mentorch.structure._split import Split
from mentorch.structure._trace import with_tensors

Shapes = Mapping[str, tuple[int, ...]]


def slim(network: nn.Module, split: Split) -> nn.Module:
    """The network that is left of ``network``: the same modules, smaller layers, tensors of its own.

    Where the reset part of ``network`` is zero the two compute the same. Hooks do not come along, and what is left
    of a frozen network can learn.

    Raises:
        UsageError: if the split is by weights, or of another network.

    >>> import torch
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


def with_attributes(network: nn.Module, attributes: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """``network`` with the attributes and the layer sizes that belong to its tensors, no longer frozen."""
    for path, values in attributes.items():
        for name, value in values.items():
            setattr(network.get_submodule(path), name, value)
    for module in network.modules():
        for name, value in _sizes(module).items():
            setattr(module, name, value)
    return thawed(network) if is_frozen(network) else network


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
