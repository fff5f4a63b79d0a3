"""The graph: frozen teachers with classes of their own, one student that learns them all."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mentorch._edge import Edge, Loss, loss_name
from mentorch._errors import MentorchError, UsageError, unknown
from mentorch._freeze import freeze, is_frozen
from mentorch._graph import Graph, View
from mentorch.data import LabelSpace
from mentorch.gates import Gate
from mentorch.losses import CommonFeatures, Concatenated, Layerwise, LossInfo, about
from mentorch.networks import Taps, taps

STUDENT = "student"
KD = Callable[..., nn.Module] | tuple[Callable[..., nn.Module], float | Gate]


def amalgamate(
    teachers: Mapping[str, nn.Module],
    student: nn.Module,
    *features: Loss | type[nn.Module] | tuple[Loss | type[nn.Module], float | Gate],
    space: LabelSpace,
    kd: KD = Concatenated,
    at: Sequence[Mapping[str, str]] | None = None,
    places: Mapping[str, Taps] | None = None,
    views: Mapping[str, View] | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    """A student that learns the classes of several teachers from images without labels.

    The teachers' logits together are its soft targets (:class:`mentorch.losses.Concatenated`); that alone is the
    baseline which every other method has to beat. Features are what is added to it.

    >>> from mentorch import data, losses, networks
    >>> teachers = {"pets": networks.cnn_small(2), "farm": networks.vit_nano(3)}
    >>> space = data.LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow", "dog", "hen")})
    >>> amalgamate(teachers, networks.cnn_tiny(len(space)), losses.CommonFeatures, space=space)
    Graph
      student  learning  CNN, 456 parameters
      pets     frozen    CNN, 5,202 parameters
      farm     frozen    ViT, 303,363 parameters
      pets, farm -> student: Concatenated  x 1
      pets.layer2, farm.norm -> student.layer2: CommonFeatures  x 10

    Args:
        teachers: name -> network, two or more, frozen in place; of any architectures.
        student: learns, under the name ``student``; its head has the joint classes.
        features: ``CommonFeatures`` or ``Layerwise`` of :mod:`mentorch.losses`, with options bound by
            ``functools.partial``; ``(loss, gate)`` replaces the published weight. Their layers learn with the student,
            and stay in ``graph.owned``.
        space: the joint classes, and whose they are: one part for each teacher.
        kd: makes the loss of the logits from ``blocks=``: ``Concatenated`` with options bound, or that and a gate.
        at: where features are read, one edge for each: node -> module, for all nodes. Unless given, where the papers
            read them: the last stage for ``CommonFeatures``; for ``Layerwise`` every stage of the student, with
            those of the teachers at the same relative depth.
        places: for networks that do not say where their stages are: node -> :class:`mentorch.networks.Taps`.
        views: per node, what it sees of the inputs: its own normalisation and size
            (:class:`mentorch.data.Normalize`, :class:`mentorch.data.Resize`).
        example: see :class:`mentorch.Graph`; each teacher is tried on it.

    Raises:
        UsageError: for fewer than two teachers, one whose classes the space does not have, a head of another width
            (when the graph is built), other losses as features, or a teacher that cannot read its view of the example.

    References:
        Luo et al., IJCAI 2019, arXiv 1906.10546; Shen et al., AAAI 2019, arXiv 1811.02796 (``Layerwise``, joint form).
    """
    check(teachers, space)
    for teacher in teachers.values():
        if not is_frozen(teacher):
            freeze(teacher)
    networks = {STUDENT: student, **teachers}
    if example is not None:
        for name, network in networks.items():
            _try(name, network, (views or {}).get(name), example[0])
    made, gate = kd if isinstance(kd, tuple) else (kd, 1.0)
    edges = [Edge(tuple(teachers), STUDENT, made(blocks=[space.parts[name] for name in teachers]), gate)]
    for feature in features:
        loss, own = feature if isinstance(feature, tuple) else (feature, None)
        edges += _edges(loss, own, networks, at, places or {})
    return Graph(networks, edges, views=views, example=example)


def check(teachers: Mapping[str, nn.Module], space: LabelSpace) -> None:
    """Refuse teachers that cannot be amalgamated into this space."""
    if len(teachers) < 2:
        named = f", not {next(iter(teachers))!r} alone: that is distillation, see methods.distill" if teachers else ""
        raise UsageError(f"amalgamation needs at least two teachers{named}")
    for name in teachers:
        if name not in space.parts:
            known = ", ".join(space.parts) or "none"
            raise UsageError(f"the classes of teacher {name!r} are unknown: the label space has parts for {known}")
    if STUDENT in teachers:
        raise UsageError(f"a teacher cannot be called {STUDENT!r}")


def _edges(
    loss: Any, gate: float | Gate | None, networks: Mapping[str, nn.Module], at: Any, places: Mapping[str, Taps]
) -> list[Edge]:
    base = loss.func if isinstance(loss, functools.partial) else loss
    if not any(base is known or isinstance(base, known) for known in (CommonFeatures, Layerwise)):
        name = loss_name(base)
        raise UsageError(
            f"{name} is not about any number of teachers: use CommonFeatures or Layerwise, or draw its Edge"
        )
    info = about(loss)
    groups = _stages(info, networks, places) if at is None else [_group(group, networks) for group in at]
    if len(groups) > 1 and isinstance(base, nn.Module):
        raise UsageError(
            f"{info.name} has weights for one group of layers, and there are {len(groups)}: pass the class"
        )
    gate = info.weight if gate is None else gate
    return [
        Edge(
            tuple(f"{name}.{place}" for name, place in group.items() if name != STUDENT),
            f"{STUDENT}.{group[STUDENT]}",
            base if isinstance(base, nn.Module) else loss(),
            gate,
        )
        for group in groups
    ]


def _group(group: Mapping[str, str], networks: Mapping[str, nn.Module]) -> dict[str, str]:
    for name in group:
        if name not in networks:
            raise unknown("node in at", name, networks)
    if missing := [name for name in networks if name not in group]:
        raise UsageError(f"at: where is {missing[0]!r} read in {dict(group)}? each group names a module of every node")
    return {name: group[name] for name in networks}


def _stages(info: LossInfo, networks: Mapping[str, nn.Module], places: Mapping[str, Taps]) -> list[dict[str, str]]:
    stages = {name: (places[name] if name in places else taps(network)).stages for name, network in networks.items()}
    if without := [name for name, own in stages.items() if not own]:
        raise UsageError(f"{info.name} compares stages: name those of {without[0]!r} with places=")
    count = len(stages[STUDENT])
    # the last meets the last, and the others are as deep as they are in the student
    paired = [{name: own[-(-(i + 1) * len(own) // count) - 1] for name, own in stages.items()} for i in range(count)]
    return paired if info.reads == "stages" else paired[-1:]


@torch.no_grad()
def _try(name: str, network: nn.Module, view: View | None, inputs: Any) -> None:
    """Run a network once, as it is seen in the graph, and leave it as it was."""
    modes = {module: module.training for module in network.modules()}
    try:
        for module in modes:
            module.training = False
        seen = inputs if view is None else view(inputs)
        network(seen)
    except MentorchError as error:
        raise UsageError(f"{name!r} cannot read its view of the inputs: {error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{name!r} cannot read inputs of shape {list(inputs.shape)} through its view: give it one of its own, "
            f"such as data.Resize and data.Normalize ({reason})"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
