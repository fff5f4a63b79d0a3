"""Metrics of nodes over a data set."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import metrics as standard
from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph
from mentorch.training._batches import length, samples_in, to_device, walk

Metric = Callable[[Any, Any], Tensor]
"""``metric(output, labels)`` -> one value per sample ``[N]``, averaged over all samples of the data."""

CLASSIFICATION: Mapping[str, Metric] = {"accuracy": standard.accuracy, "cross_entropy": standard.cross_entropy}


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every sub-module has its former mode, also after an error."""
    modes = {m: m.training for module in modules for m in module.modules()}
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def evaluate(
    graph: Graph,
    data: Iterable[Any],
    *,
    nodes: Sequence[str] | None = None,
    metrics: Mapping[str, Metric] | Mapping[str, Mapping[str, Metric]] | None = None,
    networks: Mapping[str, nn.Module] | None = None,
) -> dict[str, dict[str, float]]:
    """Mean of each metric over all samples of ``data``, exact over unequal batches, for each node.

    Args:
        graph: holds the nodes and what each sees of the inputs.
        data: batches ``(inputs, labels)``.
        nodes: which ones; those that learn, unless said otherwise.
        metrics: name -> ``metric(output, labels) -> [N]``, for all nodes or per node; accuracy and cross-entropy if
            nothing is said.
        networks: run these instead of the graph's own under the same names (averaged weights, say).

    Returns:
        Node -> metric -> value.

    Raises:
        UsageError: for an unknown node, if the data is empty, has no labels or leaves samples out (``drop_last``), or
            if a metric does not return one value per sample.
    """
    names = graph.learning if nodes is None else tuple(nodes)
    for name in names:
        if name not in graph.nodes:
            raise unknown("node", name, graph.nodes)
    check_whole(data)
    wanted = {name: metrics_of(name, metrics, graph) for name in names}
    running = {name: (networks or {}).get(name, graph.nodes[name]) for name in names}
    device = next((p.device for p in graph.parameters()), torch.device("cpu"))
    sums: dict[tuple[str, str], Tensor] = {}
    samples = 0
    views = [view for name in names if isinstance(view := graph.views.get(name), nn.Module)]
    with evaluating(*running.values(), *views):
        for batch in walk(data, 0, 0, sys.maxsize if (known := length(data)) is None else known):
            inputs, labels, _ = to_device(batch, device)
            if labels is None:
                raise UsageError("evaluation needs labels, the data has none")
            size = samples_in(batch)
            samples += size
            for name, network in running.items():
                view = graph.views.get(name)
                output = network(inputs if view is None else view(inputs))
                for metric, function in wanted[name].items():
                    value = function(output, labels)
                    if value.shape != (size,):
                        raise UsageError(f"metric {metric!r} must return one value per sample, got {list(value.shape)}")
                    total = value.sum(dtype=torch.float64)
                    sums[name, metric] = sums[name, metric] + total if (name, metric) in sums else total
    if not samples:
        raise UsageError("evaluation on empty data")
    return {name: {m: float(sums[name, m]) / samples for m in wanted[name]} for name in names}


def check_whole(data: Iterable[Any]) -> None:
    """Refuse data that leaves samples out."""
    if getattr(data, "drop_last", False):
        raise UsageError("evaluation must see every sample: pass data with drop_last=False")


def metrics_of(name: str, metrics: Mapping[str, Any] | None, graph: Graph) -> Mapping[str, Metric]:
    """The metrics of one node."""
    if metrics is None:
        return CLASSIFICATION
    if metrics and all(isinstance(value, Mapping) for value in metrics.values()):
        for node in metrics:
            if node not in graph.nodes:
                raise UsageError(f"metrics: there is no node {node!r} (known: {', '.join(graph.nodes)})")
        return metrics.get(name, CLASSIFICATION)  # type: ignore[no-any-return]
    return metrics
