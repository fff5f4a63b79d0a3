"""Graphs of several networks that learn together: who teaches whom, drawn at once."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from mentorch._errors import UsageError
from mentorch._freeze import is_frozen
from mentorch._graph import Graph, View
from mentorch.gates import Gate
from mentorch.methods._presets._matrix import GATES as GATES
from mentorch.methods._presets._matrix import KD, Entry, Losses, draw
from mentorch.methods._presets._matrix import from_matrix as from_matrix
from mentorch.methods._presets._matrix import to_matrix as to_matrix


def independent(
    networks: Mapping[str, nn.Module],
    *,
    labels: float | Gate = 1.0,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    """Networks that learn from the labels, each alone: what learning together has to beat.

    >>> independent({"a": nn.Linear(2, 3)}).edges[0].name
    'labels -> a: cross_entropy'

    Args:
        networks: name -> network; frozen ones stay so.
        labels: gate of the cross-entropy with the labels.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`.
    """
    return draw(networks, _all_alike(networks, 0.0, labels), KD, views, example)


def mutual(
    networks: Mapping[str, nn.Module],
    *,
    loss: Losses = KD,
    labels: float | Gate = 1.0,
    average: bool = False,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    r"""Deep mutual learning: every network learns from the labels and from all others.

    .. math:: L_t = CE(z_t, y) + w \sum_{s \ne t} KL(softmax(z_s) \| softmax(z_t)), \quad
        w = 1 \text{ or } 1 / (N - 1)

    Updates are simultaneous, unless ``fit`` is told to alternate (algorithm 1 of the paper).

    >>> print(to_matrix(mutual({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3), "c": nn.Linear(2, 3)}, average=True)))
    learns \ from  a    b    c
    a              1    0.5  0.5
    b              0.5  1    0.5
    c              0.5  0.5  1

    Args:
        networks: name -> network, two or more; frozen ones only teach.
        loss: of every transfer, or per (source, target).
        labels: gate of the cross-entropy with the labels.
        average: divide the transfers by the number of peers, as the paper does for more than two; without, as the
            knowledge transfer graph has it. The same for two networks.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`.

    Raises:
        UsageError: for less than two networks.

    References:
        Zhang et al., "Deep Mutual Learning", CVPR 2018, arXiv 1706.00384 (also its extension to larger cohorts).
    """
    _check_several("mutual learning", networks)
    gate = 1.0 / (len(networks) - 1) if average else 1.0
    return full(networks, gate=gate, loss=loss, labels=labels, views=views, example=example)


def full(
    networks: Mapping[str, nn.Module],
    *,
    gate: Entry = 1.0,
    loss: Losses = KD,
    labels: float | Gate = 1.0,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    """Every network learns from the labels and from every other, all transfers under one gate.

    Args:
        networks: name -> network, two or more; frozen ones only teach.
        gate: of every transfer: a gate or one of :data:`GATES` by name.
        loss: of every transfer, or per (source, target).
        labels: gate of the cross-entropy with the labels.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`.

    Raises:
        UsageError: for less than two networks, or an unknown gate.

    References:
        Minami et al., "Knowledge Transfer Graph for Deep Collaborative Learning", ACCV 2020, arXiv 1909.04286.
    """
    _check_several("a full graph", networks)
    return draw(networks, _all_alike(networks, gate, labels), loss, views, example)


def chain(
    networks: Mapping[str, nn.Module],
    *,
    gate: Entry = 1.0,
    loss: Losses = KD,
    labels: float | Gate = 1.0,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    r"""Teacher assistants in one graph: each network learns from the next one, and the last is the frozen teacher.

    The paper trains one after the other, which is one :func:`distill` per link; here all learn at the same time.

    >>> print(to_matrix(chain({"student": nn.Linear(2, 3), "assistant": nn.Linear(2, 3), "teacher": nn.Linear(2, 3)})))
    learns \ from  student  assistant  teacher
    student        1        1          0
    assistant      0        1          1
    teacher        0        0          0

    Args:
        networks: name -> network, two or more, student first; the last one is frozen in place.
        gate: of every transfer: a gate or one of :data:`GATES` by name.
        loss: of every transfer, or per (source, target).
        labels: gate of the cross-entropy with the labels.
        views: per node, what it sees of the inputs.
        example: see :class:`mentorch.Graph`.

    Raises:
        UsageError: for less than two networks, or an unknown gate.

    References:
        Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020, arXiv 1902.03393.
    """
    _check_several("a chain", networks)
    names = list(networks)
    after = dict(itertools.pairwise(names))

    def entry(target: str, source: str) -> Entry:
        if target == names[-1]:
            return 0.0
        return labels if source == target else gate if source == after[target] else 0.0

    return draw(networks, entry, loss, views, example)


def _all_alike(networks: Mapping[str, nn.Module], gate: Entry, labels: float | Gate) -> Callable[[str, str], Entry]:
    """One gate for every transfer to a network that learns, and one for its labels."""

    def entry(target: str, source: str) -> Entry:
        if is_frozen(networks[target]):
            return 0.0
        return labels if source == target else gate

    return entry


def _check_several(what: str, networks: Mapping[str, nn.Module]) -> None:
    if len(networks) < 2:
        raise UsageError(f"{what} needs two networks or more, got {len(networks)}")
