"""Graphs, networks and data sets as plain data."""

from typing import Any

from torch import Tensor, nn

from mentorch._edge import describe_gate, loss_name
from mentorch._freeze import is_frozen
from mentorch._graph import Graph
from mentorch.comparison._measure import latency
from mentorch.data import Dataset
from mentorch.networks import cost, state_hash


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


def describe_cost(network: nn.Module, example: Tensor) -> dict[str, Any]:
    """What a network costs, for ``results.json``."""
    size = cost(network, example)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    seconds = latency(network, example)
    return {"parameters": size.parameters, "macs": size.macs, "bytes": stored, "latency": seconds}


def describe_data(data: Dataset) -> dict[str, Any]:
    """Data, for ``results.json``."""
    sizes = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    return {
        "name": data.name,
        **sizes,
        "classes": data.num_classes,
        "note": data.note,
        "fingerprint": data.fingerprint,
    }
