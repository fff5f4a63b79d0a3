"""Metrics of nodes over a data set."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import _processes
from mentorch import metrics as standard
from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph
from mentorch.training._batches import Shares, length, samples_in, to_device, walk

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
    together: bool = False,
) -> dict[str, dict[str, float]]:
    """Mean of each metric over all samples of ``data``, exact over unequal batches, for each node.

    Args:
        graph: holds the nodes and what each sees of the inputs.
        data: batches ``(inputs, labels)``.
        nodes: which ones; those that learn, unless said otherwise.
        metrics: name -> ``metric(output, labels) -> [N]``, for all nodes or per node; accuracy and cross-entropy if
            nothing is said.
        networks: run these instead of the graph's own under the same names (averaged weights, say).
        together: several processes measure it, all of which ask: each runs its part of :class:`mentorch.data.Batches`,
            and every sample counts once. Other data, and data in random order, is measured by each as a whole.

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
    sums = {(name, m): torch.zeros((), dtype=torch.float64, device=device) for name in names for m in wanted[name]}
    samples, (rank, world) = 0, _parts(data) if together else (0, 1)
    number = data.count(rank, world) if isinstance(data, Shares) and world > 1 else length(data)
    views = [view for name in names if isinstance(view := graph.views.get(name), nn.Module)]
    with evaluating(*running.values(), *views):
        for batch in walk(data, 0, 0, sys.maxsize if number is None else number, rank, world):
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
                    if not isinstance(value, Tensor) or value.shape != (size,):
                        kind = list(value.shape) if isinstance(value, Tensor) else repr(value)
                        raise UsageError(f"metric {metric!r} must return one value per sample, got {kind}")
                    sums[name, metric] += value.sum(dtype=torch.float64)
    found = torch.stack([*sums.values(), torch.tensor(samples, dtype=torch.float64, device=device)])
    if world > 1:
        torch.distributed.all_reduce(found)
    *totals, count = found.tolist()
    if not count:
        raise UsageError("evaluation on empty data")
    means = {key: total / count for key, total in zip(sums, totals, strict=True)}
    return {name: {m: means[name, m] for m in wanted[name]} for name in names}


def _parts(data: Iterable[Any]) -> tuple[int, int]:
    """Which part of the data this process measures, of how many; data in random order is not divided exactly."""
    alone = not isinstance(data, Shares) or getattr(data, "shuffle", False)
    return (0, 1) if alone else (_processes.rank(), _processes.world())


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
