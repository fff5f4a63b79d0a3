"""Selective learning: a teacher made of specialised sub-teachers, in two forms that do what they say."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._errors import UsageError, unknown
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch._math import full_precision
from mentorch.gates import Gate
from mentorch.losses import cross_entropy, kd
from mentorch.training import On, Training


@dataclass(frozen=True)
class MeanOfTeachers:
    r"""Divergence of the student from the mean of its sub-teachers.

    .. math:: p_c = \frac{1}{Z} \frac{1}{|\{i : c \in K_i\}|} \sum_{i : c \in K_i} softmax(t_i / T)_c, \quad
        \ell_b = T^2 \sum_c p_c \log (p_c / q_c)

    Each class is averaged over the sub-teachers that know it; a class that nobody knows has no mass. Kind ``sample``.

    Args:
        classes: for each sub-teacher, the classes of its outputs, as positions in the student's output; empty means
            that all know all.
        temperature: T.
    """

    classes: tuple[tuple[int, ...], ...] = ()
    temperature: float = 4.0

    def __call__(self, student: Tensor, *teachers: Tensor) -> Tensor:
        """The loss of each sample, shape ``[N]``, from logits ``[N, K]`` and one ``[N, K_i]`` per sub-teacher."""
        student, *logits_of = full_precision(student, *teachers)
        known = self.classes or tuple(tuple(range(student.shape[1])) for _ in teachers)
        if len(known) != len(logits_of):
            raise UsageError(f"MeanOfTeachers: {len(known)} lists of classes for {len(logits_of)} sub-teachers")
        total, votes = torch.zeros_like(student), torch.zeros_like(student[:1])
        for logits, columns in zip(logits_of, known, strict=True):
            if logits.shape[1] != len(columns):
                raise UsageError(f"MeanOfTeachers: {logits.shape[1]} outputs but {len(columns)} classes")
            index = torch.tensor(columns, device=student.device)
            total = total.index_add(1, index, (logits / self.temperature).softmax(1))
            votes = votes.index_add(1, index, torch.ones_like(logits[:1]))
        target = total / votes.clamp(min=1)
        target = target / target.sum(1, keepdim=True)
        own = (student / self.temperature).log_softmax(1)
        divergence: Tensor = (torch.special.xlogy(target, target) - target * own).sum(1)
        return self.temperature**2 * divergence


def mean_of_teachers(
    student: nn.Module,
    teachers: Mapping[str, nn.Module],
    *,
    classes: Mapping[str, Sequence[int]] | None = None,
    temperature: float = 4.0,
    gate: float | Gate = 0.9,
    labels: float | Gate = 0.1,
    views: Mapping[str, View] | None = None,
) -> Graph:
    """A student that learns from the mean of several sub-teachers, each averaged over the classes that it knows.

    Args:
        student: learns, under the name ``student``.
        teachers: name -> network, frozen in place.
        classes: name -> which of the student's classes its outputs are; all, for those not named.
        temperature: softens both sides.
        gate: of the transfer.
        labels: of the cross-entropy with the labels.
        views: per node, what it sees of the inputs.
    """
    _check(teachers)
    for name in classes or {}:
        if name not in teachers:
            raise unknown("sub-teacher in classes", name, teachers)
    everything = tuple(tuple((classes or {}).get(name, ())) for name in teachers)
    known = everything if all(everything) else ()
    if any(everything) and not known:
        raise UsageError("name the classes of every sub-teacher, or of none")
    loss = MeanOfTeachers(known, temperature)
    edges = [
        Edge("labels", "student", cross_entropy, labels),
        Edge(tuple(teachers), "student", loss, gate, name=f"mean of {', '.join(teachers)} -> student: kd"),
    ]
    return Graph({"student": student, **{n: freeze(t) for n, t in teachers.items()}}, edges, views=views)


def one_copy_each(
    student: nn.Module,
    teachers: Mapping[str, nn.Module],
    *,
    temperature: float = 4.0,
    gate: float | Gate = 0.9,
    labels: float | Gate = 0.1,
    view: View | None = None,
    views: Mapping[str, View] | None = None,
) -> Graph:
    """One copy of the student per sub-teacher, ``student_NAME``, each learning from its own.

    :class:`WinnerTakesAll` makes the copies one network again after each epoch.

    Costs as many students as there are sub-teachers.

    Args:
        student: copied; all copies start with the same weights.
        teachers: name -> network, frozen in place; each knows all classes.
        temperature: of the distillation.
        gate: of the distillation.
        labels: of the cross-entropy with the labels.
        view: what the copies see of the inputs.
        views: what the sub-teachers see.
    """
    _check(teachers)
    copies = {f"student_{name}": copy.deepcopy(student) for name in teachers}
    edges = [Edge("labels", name, cross_entropy, labels) for name in copies]
    distilling = _Kd(temperature)
    edges += [
        Edge(name, f"student_{name}", distilling, gate, name=f"{name} -> student_{name}: kd") for name in teachers
    ]
    seen = {**(dict.fromkeys(copies, view) if view is not None else {}), **(views or {})}
    return Graph({**copies, **{n: freeze(t) for n, t in teachers.items()}}, edges, views=seen)


@dataclass(frozen=True)
class _Kd:
    temperature: float

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return kd(student, teacher, temperature=self.temperature)


@dataclass(frozen=True)
class WinnerTakesAll:
    """After each epoch the copy with the lowest validation cross-entropy hands its weights to all others.

    All copies are scored on the same quantity, against the labels. Use it as a callback:
    ``fit(one_copy_each(...), ..., callbacks=[WinnerTakesAll().callback])``.

    Args:
        optimizer_state: what the others do with their optimiser's state: take the winner's (``copy``) or forget it
            (``reset``).
        winners: filled while training: the winner of each epoch.
    """

    optimizer_state: str = "copy"
    winners: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        if self.optimizer_state not in ("copy", "reset"):
            raise UsageError(f"optimizer_state is 'copy' or 'reset', got {self.optimizer_state!r}")

    @property
    def callback(self) -> On:
        """To be passed to ``fit``."""
        return On("epoch", self._broadcast)

    @torch.no_grad()
    def _broadcast(self, training: Training) -> None:
        scores = training.history.records[-1].get("validation")
        if not scores:
            raise UsageError("WinnerTakesAll needs validation data to choose a winner")
        names = training.graph.learning
        winner = min(names, key=lambda name: scores[name]["cross_entropy"])
        self.winners.append(winner)
        best = training.graph.nodes[winner]
        optimizers = training.steering.optimizers.values()
        learned = {parameter: state for optimizer in optimizers for parameter, state in optimizer.state.items()}
        for name in names:
            if name == winner:
                continue
            node = training.graph.nodes[name]
            node.load_state_dict(best.state_dict())
            if name in training.averages:
                training.averages[name].load_state_dict(training.averages[winner].state_dict())
            for own, theirs in zip(node.parameters(), best.parameters(), strict=True):
                for optimizer in optimizers:
                    if own in optimizer.state:
                        kept = learned.get(theirs, {}) if self.optimizer_state == "copy" else {}
                        optimizer.state[own] = copy.deepcopy(kept)


def _check(teachers: Mapping[str, Any]) -> None:
    if len(teachers) < 2:
        raise UsageError(f"selective learning needs two sub-teachers or more, got {len(teachers)}")
