"""A graph as text."""

from collections.abc import Iterable

from torch import nn
from torch.nn.parameter import is_lazy

from mentorch._edge import Edge
from mentorch._freeze import is_frozen


def printed(nodes: nn.ModuleDict, edges: Iterable[Edge]) -> str:
    """The nodes with their roles and sizes, then the edges; a line each."""
    width = max(map(len, nodes), default=0)
    lines = ["Graph"]
    for name, node in nodes.items():
        role = "frozen" if is_frozen(node) else "learning"
        lines.append(f"  {name:<{width}}  {role:<8}  {type(node).__name__}, {_size(node)}")
    return "\n".join([*lines, *(f"  {edge}" for edge in edges)])


def _size(node: nn.Module) -> str:
    parameters = list(node.parameters())
    if any(is_lazy(parameter) for parameter in parameters):
        return "not yet initialised"
    return f"{sum(parameter.numel() for parameter in parameters):,} parameters"
