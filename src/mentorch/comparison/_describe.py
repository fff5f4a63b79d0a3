"""Graphs as data."""

from typing import Any

from mentorch._edge import describe_gate, loss_name
from mentorch._freeze import is_frozen
from mentorch._graph import Graph
from mentorch.networks import state_hash


def describe_graph(graph: Graph) -> dict[str, Any]:
    """A graph as data, for drawing."""
    nodes = [
        {
            "name": name,
            "role": "frozen" if is_frozen(node) else "learning",
            "network": type(node).__name__,
            "parameters": sum(p.numel() for p in node.parameters()),
            **({"hash": state_hash(node)} if is_frozen(node) else {}),
        }
        for name, node in graph.nodes.items()
    ]
    edges = [
        {
            "source": list(edge.sources),
            "target": ", ".join(edge.targets),
            "loss": loss_name(edge.loss),
            "gate": describe_gate(edge.gate),
            "name": edge.name,
        }
        for edge in graph.edges
    ]
    return {"nodes": nodes, "edges": edges}
