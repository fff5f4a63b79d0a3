"""What is no graph, and is refused when it is made."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import nn

from mentorch._edge import Edge, owned
from mentorch._errors import UsageError
from mentorch._freeze import is_frozen
from mentorch._tap import BATCH, Address
from mentorch.gates import as_gate


def check_names(nodes: Mapping[str, nn.Module]) -> None:
    """Refuse what is no network, names that an address could not hold, and a network under two names."""
    if not nodes:
        raise UsageError("a graph needs at least one node")
    owners: dict[int, str] = {}
    for name, node in nodes.items():
        if not isinstance(node, nn.Module):
            raise UsageError(f"node {name!r} is not a torch.nn.Module but {node!r}")
        if (
            not isinstance(name, str)
            or name in BATCH
            or not name
            or hasattr(nn.ModuleDict(), name)
            or set(name) & set(".:, ")
        ):
            raise UsageError(f"{name!r} cannot name a node: not a string, reserved, empty, or with one of '.:, ' in it")
        if owners.setdefault(id(node), name) != name:
            raise UsageError(f"nodes {owners[id(node)]!r} and {name!r} are the same network")


def check_edges(nodes: Mapping[str, nn.Module], edges: Sequence[Edge], addresses: Mapping[str, Address]) -> None:
    """Refuse edges that cannot teach, networks that nobody teaches, and those that were compiled too early."""
    names = [edge.name for edge in edges]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two edges are called {name!r}: give them a name=")
    for edge in edges:
        roots = {addresses[text].root for text in edge.targets}
        if len(roots) != 1:
            raise UsageError(f"edge {edge.name!r}: several targets must lie in one node")
        target = addresses[edge.targets[0]]
        if target.of_batch:
            raise UsageError(f"edge {edge.name!r}: {edge.targets[0]!r} cannot learn, an edge must point to a node")
        if is_frozen(nodes[target.root]):
            raise UsageError(f"edge {edge.name!r}: node {target.root!r} is frozen and cannot learn")
        if not isinstance(weight := as_gate(edge.gate)(0.0), Real):
            raise UsageError(f"edge {edge.name!r}: a gate returns a number, got {weight!r}")
    made = [id(part) for edge in edges for part in owned(edge).values() if hasattr(part, "build")]
    for edge in edges:
        if any(made.count(id(part)) > 1 for part in owned(edge).values()):
            raise UsageError(f"edge {edge.name!r} shares a loss or adapter that owns weights: make one for each")
    targets = {addresses[edge.targets[0]].root for edge in edges}
    for name, node in nodes.items():
        if not is_frozen(node) and name not in targets:
            raise UsageError(f"no edge points to {name!r}: freeze it, or add an edge to it")
    for address in addresses.values():
        if address.tapped and _is_compiled(nodes[address.root]):
            raise UsageError(f"node {address.root!r} is compiled: build the graph first, then graph.compile()")


def check_known(nodes: Mapping[str, nn.Module], *, views: Mapping[str, Any], devices: Collection[str]) -> None:
    """Refuse views and devices of nodes which there are not, and views that are not fixed."""
    for option, names in {"views": views, "devices": devices}.items():
        for name in names:
            if name not in nodes:
                raise UsageError(f"{option}: there is no node {name!r} (known: {', '.join(nodes)})")
    for name, view in views.items():
        if isinstance(view, nn.Module):
            _check_fixed(name, view)


def _check_fixed(name: str, view: nn.Module) -> None:
    """No optimiser trains a view, and no checkpoint keeps what it recorded."""
    if any(parameter.requires_grad for parameter in view.parameters()):
        raise UsageError(
            f"the view of {name!r} has weights that nobody would train: make it a part of the network, or freeze() it"
        )
    for module in view.modules():
        records = isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
        if records and not is_frozen(module):
            raise UsageError(
                f"the view of {name!r} has statistics that would change ({type(module).__name__}): "
                "make it a part of the network, or freeze() it"
            )


def _is_compiled(node: nn.Module) -> bool:
    return isinstance(node, torch._dynamo.OptimizedModule) or node._compiled_call_impl is not None
