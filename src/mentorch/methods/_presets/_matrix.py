"""Gate matrices: who teaches whom, as rows of receivers and columns of senders."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from mentorch._edge import Edge, Loss, describe_gate, loss_name
from mentorch._errors import UsageError, unknown
from mentorch._freeze import freeze, is_frozen
from mentorch._graph import Graph, View
from mentorch.gates import Constant, Gate, Linear
from mentorch.losses import LossInfo, about, cross_entropy, kd, where_correct

Entry = float | Gate | str
"""What stands in a gate matrix: a gate, or one of :data:`GATES` by name."""
Losses = Loss | Mapping[tuple[str, str], Loss]
"""The loss of every transfer edge, or of some by (source, target); the others keep ``kd`` at temperature 1."""

CORRECT = "correct"
GATES: Mapping[str, float | Gate] = MappingProxyType(
    {"through": 1.0, "cutoff": 0.0, "linear_up": Linear(0.0, 1.0), "linear_down": Linear(1.0, 0.0), CORRECT: 1.0}
)
"""The gates of arXiv 1909.04286 by name; ``linear_down`` is from a later re-implementation. ``correct`` also masks."""

KD: Loss = partial(kd, temperature=1.0)


def from_matrix(
    networks: Mapping[str, nn.Module],
    gates: Sequence[Sequence[Entry]],
    *,
    loss: Losses = KD,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    r"""A knowledge transfer graph from its gate matrix: row = receiver, column = sender, diagonal = labels.

    Entries are gates or names: ``through`` (1), ``cutoff`` (0: no edge), ``linear_up`` (0 to 1), ``linear_down`` (1 to
    0) and ``correct``, which counts only where the sender is right (:func:`mentorch.losses.where_correct`); labels
    are always right, so on the diagonal it is ``through``. A network whose row is all cut is frozen, and only teaches.

    >>> rows = [["linear_up", "correct"], ["cutoff", "cutoff"]]
    >>> from_matrix({"target": nn.Linear(2, 3), "peer": nn.Linear(2, 3)}, rows)
    Graph
      target  learning  Linear, 9 parameters
      peer    frozen    Linear, 9 parameters
      labels -> target: cross_entropy  x Linear(start=0.0, end=1.0)
      peer, labels -> target: where_correct(kd)  x 1

    Args:
        networks: name -> network, in the order of rows and columns; the first one is the target.
        gates: N rows of N entries.
        loss: of every transfer, or per (source, target).
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`.

    Raises:
        UsageError: for a matrix of another size, an unknown name, a target whose row is all cut, or a network that
            was frozen before and has an open row.

    References:
        Minami et al., "Knowledge Transfer Graph for Deep Collaborative Learning", ACCV 2020, arXiv 1909.04286.
    """
    names = list(networks)
    sizes = {len(row) for row in gates}
    if len(gates) != len(names) or sizes != {len(names)}:
        columns = " or ".join(map(str, sorted(sizes))) or "0"
        raise UsageError(
            f"the gate matrix of {len(names)} networks has {len(names)} rows (receivers) of {len(names)} columns "
            f"(senders), got {len(gates)} rows of {columns}"
        )
    if all(_shut(entry) for entry in gates[0]):
        raise UsageError(f"the row of the target {names[0]!r} is all cut: it would learn from nobody")
    place = {name: i for i, name in enumerate(names)}
    return draw(networks, lambda target, source: gates[place[target]][place[source]], loss, views, example)


def to_matrix(graph: Graph) -> str:
    """The gates of a graph as text: row = receiver, column = sender, diagonal = edges without another node.

    Several edges of one pair stand beside each other; where the labels select, the gate is called ``correct``.
    """
    names = list(graph.nodes)
    rows = [["learns \\ from", *names]]
    for target in names:
        edges = [edge for edge in graph.edges if _node(edge.targets[0]) == target]
        cells: dict[str, list[str]] = {name: [] for name in names}
        for edge in edges:
            senders = [name for name in names if name in map(_node, edge.sources)] or [target]
            for sender in senders:
                cells[sender].append(_written(edge))
        rows.append([target, *(" + ".join(cell) or "0" for cell in cells.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def draw(
    networks: Mapping[str, nn.Module],
    entry: Callable[[str, str], Entry],
    loss: Losses,
    views: Mapping[str, View] | None,
    example: Sequence[Any] | None,
) -> Graph:
    """The graph whose gate from ``source`` to ``target`` is ``entry(target, source)``; who learns nothing is frozen."""
    for pair in loss if isinstance(loss, Mapping) else ():
        if len(set(pair)) != 2 or not set(pair) <= set(networks):
            raise UsageError(f"loss of {pair!r}: a transfer is named (source, target), of {', '.join(networks)}")
    rows = {t: {s: gate for s in networks if not _shut(gate := entry(t, s))} for t in networks}
    edges = []
    for target, row in rows.items():
        if not row and not is_frozen(networks[target]):
            freeze(networks[target])
        for source in sorted(row, key=lambda name: name != target):  # the labels first, the others in their order
            if source == target:
                edges.append(Edge("labels", target, cross_entropy, _gate(row[source])))
            else:
                own = loss.get((source, target), KD) if isinstance(loss, Mapping) else loss
                edges.append(_transfer(source, target, own, row[source]))
    return Graph(networks, edges, views=views, example=example)


def _transfer(source: str, target: str, loss: Loss, entry: Entry) -> Edge:
    """A transfer between outputs, with what the loss reads besides, as far as the catalogue knows the loss."""
    others: tuple[str, ...] = ()
    if (info := _known(loss)) is not None:
        if info.reads != "logits" or not info.teacher:
            raise UsageError(f"{info.name} does not compare logits: draw its Edge yourself, or use methods.distill")
        others = ("labels",) * info.labels + ("index",) * info.index + info.also
    if entry == CORRECT:
        loss, others = where_correct(loss), (*others, "labels")
    return Edge((source, *others), target, loss, _gate(entry))


def _known(loss: Loss) -> LossInfo | None:
    try:
        return about(loss)
    except UsageError:
        return None


def _gate(entry: Entry) -> float | Gate:
    if not isinstance(entry, str):
        return entry
    if entry not in GATES:
        raise unknown("gate", entry, GATES)
    return GATES[entry]


def _shut(entry: Entry) -> bool:
    return _gate(entry) in (0.0, Constant(0.0))


def _node(address: str) -> str:
    return address.replace(":", ".").split(".")[0]


def _written(edge: Edge) -> str:
    """A gate as short as it is known."""
    linear = (name for name in ("linear_up", "linear_down") if edge.gate == GATES[name])
    gate = next(linear, describe_gate(edge.gate))
    if not loss_name(edge.loss).startswith("where_correct"):
        return gate
    return CORRECT if gate == "1" else f"{CORRECT} x {gate}"
