"""A closer look at a graph: how loud each edge is, whether edges agree, how right the nodes are, where time goes."""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._graph import Graph
from mentorch.gates import as_gate
from mentorch.training._batches import samples_in, to_device, walk
from mentorch.training._checkpoint import undisturbed
from mentorch.training._evaluate import evaluating

ENOUGH = 1000
"""Samples that are enough to see how often two networks agree."""


def diagnose(
    graph: Graph,
    inputs: Any,
    labels: Any = None,
    index: Tensor | None = None,
    *,
    progress: float = 0.0,
    given: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    r"""What every open edge asks of its node on one batch; nothing is trained, and no statistic or random stream moves.

    For edges e into one node with weighted losses :math:`L_e` and the node's own parameters :math:`\theta`,

    .. math:: g_e = \nabla_\theta L_e, \quad share_e = \|g_e\| / \sum_{e'} \|g_{e'}\|, \quad
        cosine_{ee'} = g_e \cdot g_{e'} / \|g_e\| \|g_{e'}\|

    Args:
        graph: in the mode in which it trains.
        inputs: as for a call of the graph, like ``labels``, ``index``, ``progress`` and ``given``.

    Returns:
        Plain data. ``edges``: name -> ``weight`` of the gate, ``loss`` after it, norm of the ``gradient``, ``share``;
        ``cosines``: one entry per pair of edges into a node; ``nodes``: accuracy, and entropy of the softened classes
        in nats, where outputs are logits ``[N, K]`` and labels are classes; ``seconds``: of each node's forward pass,
        of the ``losses`` beside them, and of the ``backward`` pass.
    """
    clock = functools.partial(_clock, graph)
    with _unchanged(graph), undisturbed(), torch.enable_grad(), _watched(graph, clock) as watched:
        began = clock()
        losses = graph.eager(inputs, labels, index, progress, given)
        forward = clock() - began
        terms = _by_edge(graph, losses)
        open_edges = [(edge, torch.stack(terms[edge.name]).sum()) for edge in graph.edges if edge.name in terms]
        began = clock()
        _gradients([loss for _, loss in open_edges], list(graph.parameters()))
        backward = clock() - began
        edges: dict[str, dict[str, float]] = {}
        cosines: list[dict[str, Any]] = []
        for name in graph.learning:
            own = [(edge, loss) for edge, loss in open_edges if graph.target_of(edge) == name]
            _compare(name, graph, own, progress, edges, cosines)
    outputs = {**{name: value for name, value in (given or {}).items() if name in graph.nodes}, **watched.outputs}
    spent = {
        "nodes": watched.seconds,
        "losses": max(0.0, forward - sum(watched.seconds.values())),
        "backward": backward,
    }
    classes = _classes(graph)
    judged = {name: _judge(output, labels, classes.get(name)) for name, output in outputs.items()}
    right = {name: found for name, found in judged.items() if found}
    return {"edges": edges, "cosines": cosines, "nodes": right, "seconds": spent}


def agreement(
    graph: Graph, data: Iterable[Any], *, networks: Mapping[str, nn.Module] | None = None, samples: int = ENOUGH
) -> list[dict[str, Any]]:
    """Who is right where, for every pair of networks with an edge between them, on the first samples of some data.

    Args:
        graph: its nodes classify: logits ``[N, K]``, labels ``[N]``; pairs of others are left out.
        data: batches ``(inputs, labels)``.
        networks: run these instead of the graph's own under the same names (averaged weights, say).
        samples: how many are enough; whole batches are taken.

    Returns:
        For each pair ``source``, ``target`` and, as fractions of the samples: ``both`` are right, ``source_only``,
        ``target_only``, ``neither``, and in ``agreement`` they name the same class. Teachers with classes of their own
        are right where the class that they name is the label (see :class:`mentorch.losses.Concatenated`).
    """
    pairs = sorted({(root, graph.target_of(e)) for e in graph.edges for root in graph.sources_of(e)})
    running = {name: (networks or {}).get(name, graph.nodes[name]) for name in {n for pair in pairs for n in pair}}
    device = next((p.device for p in graph.parameters()), torch.device("cpu"))
    classes = _classes(graph)
    views = [view for name in running if isinstance(view := graph.views.get(name), nn.Module)]
    counts: dict[tuple[str, str], Tensor] = {}
    seen = 0
    with evaluating(*running.values(), *views):
        for batch in walk(data, 0, 0, samples):
            inputs, labels, _ = to_device(batch, device)
            guesses = {}
            for name, network in running.items():
                view = graph.views.get(name)
                output = network(inputs if view is None else view(inputs))
                if _classifies(output, labels):
                    guesses[name] = _guess(output, classes.get(name))
            for source, target in pairs:
                if source in guesses and target in guesses:
                    found = _count(guesses[source], guesses[target], labels)
                    counts[source, target] = counts.get((source, target), torch.zeros_like(found)) + found
            seen += samples_in(batch)
            if seen >= samples:
                break
    names = ("both", "source_only", "target_only", "neither", "agreement")
    return [
        {"source": source, "target": target, **dict(zip(names, (found / seen).tolist(), strict=True))}
        for (source, target), found in counts.items()
    ]


def _by_edge(graph: Graph, losses: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """The terms of each open edge: those of ``kd`` are ``kd`` or ``kd/term``, which may also be the name of an edge."""
    found: dict[str, list[Tensor]] = {}
    for term, value in losses.items():
        names = [edge.name for edge in graph.edges if term == edge.name or term.startswith(f"{edge.name}/")]
        found.setdefault(max(names, key=len), []).append(value)
    return found


def _compare(
    node: str,
    graph: Graph,
    own: Sequence[tuple[Edge, Tensor]],
    progress: float,
    edges: dict[str, dict[str, float]],
    cosines: list[dict[str, Any]],
) -> None:
    """Fill in what the edges into one node ask of it."""
    parameters = [p for p in graph.nodes[node].parameters() if p.requires_grad]
    gradients = [_gradients([loss], parameters) for _, loss in own]
    products = torch.tensor([[float(_dot(a, b)) for b in gradients] for a in gradients])
    norms = products.diagonal().clamp(min=0).sqrt() if own else products
    total = float(norms.sum())
    for (edge, loss), norm in zip(own, norms.tolist(), strict=True):
        edges[edge.name] = {
            "weight": as_gate(edge.gate)(progress),
            "loss": float(loss.detach()),
            "gradient": norm,
            "share": norm / total if total else 0.0,
        }
    for i, j in itertools.combinations(range(len(own)), 2):
        scale = float(norms[i] * norms[j])
        if scale:
            names = [own[i][0].name, own[j][0].name]
            cosines.append({"node": node, "edges": names, "cosine": float(products[i, j]) / scale})


def _gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor | None]:
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    losses = [loss for loss in losses if loss.requires_grad]
    if not losses or not wanted:
        return [None] * len(wanted)
    return list(torch.autograd.grad(losses, wanted, retain_graph=True, allow_unused=True))


def _dot(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> float:
    parts = [(x * y).sum(dtype=torch.float64) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return float(torch.stack(parts).sum()) if parts else 0.0


def _classifies(output: Any, labels: Any) -> bool:
    return (
        isinstance(output, Tensor)
        and isinstance(labels, Tensor)
        and output.ndim == 2
        and labels.shape == output.shape[:1]
        and not labels.is_floating_point()
    )


def _classes(graph: Graph) -> dict[str, Tensor]:
    """For nodes with classes of their own, of amalgamation, the label that each output stands for, or -1."""
    found: dict[str, Tensor] = {}
    for edge in graph.edges:
        if classes_of := getattr(edge.loss, "classes_of", None):
            found |= {name: classes_of(i) for i, name in enumerate(edge.sources) if name in graph.nodes}
    return found


def _guess(output: Tensor, classes: Tensor | None) -> Tensor:
    """The label that each sample is given, ``[N]``."""
    best = output.argmax(1)
    return best if classes is None else classes[best]


def _judge(output: Any, labels: Any, classes: Tensor | None = None) -> dict[str, float]:
    if not _classifies(output, labels):
        return {}
    log_p = output.detach().float().log_softmax(1)
    return {
        "accuracy": float((_guess(output, classes) == labels).float().mean()),
        "entropy": float(-(log_p.exp() * log_p).sum(1).mean()),
    }


def _count(source: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    s, t = source == labels, target == labels
    return torch.stack([(s & t).sum(), (s & ~t).sum(), (~s & t).sum(), (~s & ~t).sum(), (source == target).sum()])


@contextlib.contextmanager
def _unchanged(graph: Graph) -> Iterator[None]:
    """Statistics and memories are afterwards what they were."""
    kept = [(buffer, buffer.detach().clone()) for buffer in graph.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


@dataclass
class _Watched:
    """What the nodes returned during a pass, and how long they took."""

    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def _watched(graph: Graph, clock: Callable[[], float]) -> Iterator[_Watched]:
    watched, began = _Watched(), dict[str, float]()

    def start(name: str, *_: Any) -> None:
        began[name] = clock()

    def stop(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        watched.seconds[name], watched.outputs[name] = clock() - began[name], output

    handles = [node.register_forward_pre_hook(functools.partial(start, name)) for name, node in graph.nodes.items()]
    handles += [node.register_forward_hook(functools.partial(stop, name)) for name, node in graph.nodes.items()]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def _clock(graph: Graph) -> float:
    """Now, with everything done that was asked of the device."""
    device = next((p.device for p in graph.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
