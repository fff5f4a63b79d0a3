"""Distillation: a frozen teacher, a learning student, one or several losses between them."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from mentorch._edge import Edge, Loss, loss_name
from mentorch._errors import UsageError
from mentorch._freeze import freeze, is_frozen
from mentorch._graph import Graph, View
from mentorch.gates import Gate, Scaled
from mentorch.losses import LossInfo, OnMaps, Regressor, about, cross_entropy
from mentorch.methods._distill._places import Places
from mentorch.methods._distill._reuse import reuse as reuse
from mentorch.networks import Taps

_MAPS = ("stage", "first_stage", "last_stage", "stages", "all_stages", "stages_embedding")


def distill(
    student: nn.Module,
    teacher: nn.Module,
    *losses: Loss | tuple[Loss, float | Gate],
    labels: float | Gate | None = None,
    pair: Literal["auto"] | Sequence[tuple[str, str]] = "auto",
    samples: int | None = None,
    places: Mapping[str, Taps] | None = None,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    """A student that learns from a teacher; each loss is read where its paper reads it.

    >>> from mentorch import losses, networks
    >>> from functools import partial
    >>> distill(networks.cnn_tiny(), networks.cnn_small(), partial(losses.kd, temperature=2.0), (losses.pkt, 400.0))
    Graph
      student  learning  CNN, 510 parameters
      teacher  frozen    CNN, 5,466 parameters
      labels -> student: cross_entropy  x 0.1
      teacher -> student: kd  x 0.9
      teacher.fc:in -> student.fc:in: pkt  x 400

    Args:
        student: learns, under the name ``student``.
        teacher: is frozen in place, under the name ``teacher``.
        losses: from :mod:`mentorch.losses`, with options bound by ``functools.partial``; ``(loss, gate)`` replaces the
            published weight, of stages that weigh differently that of the deepest. Of a loss that owns weights the
            class, or what it made: the class is asked once per edge. One loss with several options is several edges,
            ``... kd`` and ``... kd (2)``.
        labels: gate of the cross-entropy with the labels; by default the smallest that was published with one of the
            losses; 0 learns without labels.
        pair: which stages to compare, as pairs of student and teacher, shallow to deep. ``auto``: all of the network
            that has fewer, in order, each with a stage of its own whose map is nearest in size; of equally near ones
            those most even in depth. Only networks that differ in the number of stages need an ``example`` for this.
            A loss on the first or the last stage alone reads that of each network.
        samples: how many training samples there are, for losses that remember each (an index is below it).
        places: for networks that do not say where their features are: node -> :class:`mentorch.networks.Taps`.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`; needed before making an optimiser if a loss has an adapter, and where a
            stage shows tokens: losses on maps then read them as maps (:class:`mentorch.losses.OnMaps`). Losses that
            read stages before their last activation need it, to see which that is; where no activation that runs once
            gives a stage its output, they read the stage.

    Raises:
        UsageError: without a loss, for one that is given twice or is not in the catalogue (draw its
            :class:`mentorch.Edge` yourself), and for networks that do not show what it reads.
    """
    if not losses:
        raise UsageError("distill needs at least one loss, such as mentorch.losses.kd")
    if not is_frozen(teacher):
        freeze(teacher)
    pairs = [loss if isinstance(loss, tuple) else (loss, None) for loss in losses]
    for i, (loss, _) in enumerate(pairs):
        if any(loss is other for other, _ in pairs[:i]):
            raise UsageError(f"distill: {loss_name(loss)} is given twice: give it once, or bind options to each")
    infos = [about(loss) for loss, _ in pairs]
    if labels is None:
        labels = min(info.labels_weight for info in infos)
    edges: list[Edge] = []
    networks = {"student": student, "teacher": teacher}
    where = Places(networks, places or {}, views or {}, example, pair)
    for (loss, gate), info in zip(pairs, infos, strict=True):
        edges += _edges(loss, info.weight if gate is None else gate, info, where, samples)
    learned = [Edge("labels", "student", cross_entropy, labels)] if labels != 0 else []
    return Graph(networks, [*learned, *_told_apart(edges)], views=views, example=example)


def _told_apart(edges: Sequence[Edge]) -> list[Edge]:
    """Edges with names of their own: of one loss with other options, the second is counted, ``... kd (2)``."""
    seen: Counter[str] = Counter()
    found = []
    for edge in edges:
        seen[edge.name] += 1
        times = seen[edge.name]
        found.append(edge if times == 1 else dataclasses.replace(edge, name=f"{edge.name} ({times})"))
    return found


def _edges(loss: Loss, gate: float | Gate, info: LossInfo, where: Places, samples: int | None) -> list[Edge]:
    ends = where.ends(info)
    if len(ends) > 1 and isinstance(loss, nn.Module):
        name = loss_name(loss)
        raise UsageError(f"{name} has weights for one pair of stages, and there are {len(ends)}: pass the class {name}")
    others = (*("labels",) * info.labels, *("index",) * info.index, *info.also)
    edges = []
    for deeper, (student, teacher) in zip(reversed(range(len(ends))), ends, strict=True):
        made = _made(loss, info, where, samples)
        if info.reads in _MAPS and not info.adapter and where.tokens:
            made = OnMaps(made)
        source = (*(teacher if info.teacher else ()), *others)
        # a map before its activation has negative values, also where the teacher shows only what is left of them
        adapter = Regressor(relu=False if info.preact else None) if info.adapter else None
        edges.append(Edge(source, student, made, _scaled(gate, info.stage_factor**deeper), adapter=adapter))
    return edges


def _scaled(gate: float | Gate, factor: float) -> float | Gate:
    if factor == 1:
        return gate
    return gate * factor if isinstance(gate, int | float) else Scaled(factor, gate)


def _made(loss: Loss, info: LossInfo, where: Places, samples: int | None) -> Loss:
    """The loss, of a class what it makes, with the options that only the surroundings know; others as they are."""
    base = getattr(loss, "func", loss)
    if base is not info.function:  # made already, or wrapped
        return loss
    known: dict[str, Any] = {}
    for name in info.context:
        if name in getattr(loss, "keywords", {}):
            continue
        if name == "samples" and samples is None:
            raise UsageError(f"{info.name} remembers every sample: pass samples=, how many there are")
        known[name] = samples if name == "samples" else where.known(name)
    if info.is_class:
        made: Loss = loss(**known)  # type: ignore[assignment]
        return made
    return functools.partial(loss, **known) if known else loss
