"""How well each branch point serves each teacher, on data that nobody learned from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mentorch._graph import Graph
from mentorch._tap import parse, select
from mentorch.methods._branch._paths import Paths
from mentorch.training import evaluating
from mentorch.training._batches import as_batch, samples_in, to_device
from mentorch.training._evaluate import check_whole


def held_out(graph: Graph, data: Iterable[Any], depths: Sequence[int]) -> dict[str, dict[int, float]]:
    """Teacher -> depth -> mean loss of its tasks with its branch there; each teacher runs once per batch.

    Depths at which a teacher cannot go on are left out for it.

    Args:
        graph: teachers and a node ``student``, a `Paths`, whose depths are moved and put back.
        data: batches; every sample counts once.
        depths: to try, all branches at the same one.
    """
    check_whole(data)
    paths = graph.nodes["student"]
    assert isinstance(paths, Paths)
    before, sums, samples = paths.chosen, dict[tuple[str, int], Tensor](), 0
    device = next(paths.parameters()).device
    with evaluating(graph):
        for batch in data:
            found = to_device(as_batch(batch), device)
            said = _said(graph, found.inputs)
            size = samples_in(found)
            samples += size
            for depth in depths:
                paths.choose(dict.fromkeys(paths.limits, depth))
                for name, loss in _by_teacher(graph, graph(*found, progress=1.0, given=said)).items():
                    if depth <= paths.limits[name]:
                        sums[name, depth] = sums.get((name, depth), torch.zeros(())) + size * loss.double()
    paths.choose(before)
    return {name: {d: float(sums[name, d]) / samples for d in depths if (name, d) in sums} for name in paths.limits}


def _said(graph: Graph, inputs: Any) -> dict[str, Tensor]:
    """What the edges read of the teachers' outputs."""
    found: dict[str, Tensor] = {}
    for name, addresses in graph.reads(1.0).items():
        if name in graph.frozen:
            output = graph.predict(name, inputs)
            found |= {text: select(output, parse(text, dict(graph.nodes.items())).pick, text) for text in addresses}
    return found


def _by_teacher(graph: Graph, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses of each teacher's edges together."""
    found: dict[str, Tensor] = {}
    for edge in graph.edges:
        (name,) = graph.sources_of(edge)
        for term, value in losses.items():
            if term == edge.name or term.startswith(f"{edge.name}/"):
                found[name] = found[name] + value if name in found else value
    return found
