"""Distillation: a frozen teacher, a learning student, one or several losses between them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mentorch._errors import UsageError
from mentorch._graph import Edge, Graph, Loss, View, freeze, is_frozen, loss_name
from mentorch.gates import Gate
from mentorch.losses import LossInfo, Regressor, catalogue, cross_entropy
from mentorch.networks import Taps, taps


def distill(
    student: nn.Module,
    teacher: nn.Module,
    *losses: Loss | tuple[Loss, float | Gate],
    labels: float | Gate | None = None,
    places: Mapping[str, Taps] | None = None,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    """A student that learns from a teacher; each loss is read where its paper reads it.

    >>> from mentorch import losses, networks
    >>> from functools import partial
    >>> distill(networks.cnn_tiny(), networks.cnn_small(), partial(losses.kd, temperature=2.0), (losses.pkt, 400.0))
    Graph
      student  learning  CNN, 898 parameters
      teacher  frozen    CNN, 6,074 parameters
      labels -> student: cross_entropy  x 0.1
      teacher -> student: kd  x 0.9
      teacher.fc:in -> student.fc:in: pkt  x 400

    Args:
        student: learns, under the name ``student``.
        teacher: is frozen in place, under the name ``teacher``.
        losses: from :mod:`mentorch.losses`, with options bound by ``functools.partial``; ``(loss, gate)`` replaces the
            published weight.
        labels: gate of the cross-entropy with the labels; by default the smallest that was published with one of the
            losses; 0 learns without labels.
        places: for networks that do not say where their features are: node -> :class:`mentorch.networks.Taps`.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`; needed before making an optimiser if a loss has an adapter.

    Raises:
        UsageError: without a loss, for a loss that is not in the catalogue (draw its :class:`mentorch.Edge` yourself),
            and for networks whose stages do not pair.
    """
    if not losses:
        raise UsageError("distill needs at least one loss, such as mentorch.losses.kd")
    if not is_frozen(teacher):
        freeze(teacher)
    pairs = [loss if isinstance(loss, tuple) else (loss, None) for loss in losses]
    infos = [_info(loss) for loss, _ in pairs]
    if labels is None:
        labels = min(info.labels_weight for info in infos)
    edges = [Edge("labels", "student", cross_entropy, labels)] if labels != 0 else []
    networks = {"student": student, "teacher": teacher}
    for (loss, gate), info in zip(pairs, infos, strict=True):
        edges += _edges(loss, info.weight if gate is None else gate, info, networks, places or {})
    return Graph(networks, edges, views=views, example=example)


def _info(loss: Loss) -> LossInfo:
    function = loss
    while isinstance(function, functools.partial):
        function = function.func
    for info in catalogue().values():
        if info.function is function:
            return info
    raise UsageError(f"{loss_name(loss)} is not in mentorch.losses: draw its Edge yourself")


def _edges(
    loss: Loss, gate: float | Gate, info: LossInfo, networks: Mapping[str, nn.Module], places: Mapping[str, Taps]
) -> list[Edge]:
    others = ("labels",) if info.labels else ()
    edges = []
    for teacher, student in _places(info, networks, places):
        source = (*((teacher,) if info.teacher else ()), *others)
        edges.append(Edge(source, student, loss, gate, adapter=Regressor() if info.adapter else None))
    return edges


def _places(info: LossInfo, networks: Mapping[str, nn.Module], places: Mapping[str, Taps]) -> list[tuple[str, str]]:
    """Pairs of addresses that a loss compares, teacher first."""
    if info.reads == "logits":
        return [("teacher", "student")]
    own = {name: places[name] if name in places else taps(network) for name, network in networks.items()}
    teacher, student = own["teacher"], own["student"]
    if info.reads == "embedding":
        return [(f"teacher.{teacher.embedding}", f"student.{student.embedding}")]
    if len(teacher.stages) != len(student.stages):
        raise UsageError(
            f"{info.name} compares stage by stage: the teacher has {', '.join(teacher.stages)}, "
            f"the student {', '.join(student.stages)}; name the ones to pair with places="
        )
    pairs = [(f"teacher.{t}", f"student.{s}") for t, s in zip(teacher.stages, student.stages, strict=True)]
    return pairs if info.reads == "stages" else [pairs[min(1, len(pairs) - 1)]]
