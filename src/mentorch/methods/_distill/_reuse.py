"""Distillation with the teacher's classifier on top of the student."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._errors import UsageError
from mentorch._freeze import freeze, is_frozen
from mentorch._graph import Graph, View
from mentorch._tap import Tap, parse
from mentorch.gates import Gate
from mentorch.losses import SimKD, catalogue, hint
from mentorch.methods._distill._look import look
from mentorch.methods._distill._places import Places
from mentorch.networks import Taps


def reuse(
    student: nn.Module,
    teacher: nn.Module,
    *,
    example: Sequence[Any],
    factor: int = 2,
    gate: float | Gate = 1.0,
    places: Mapping[str, Taps] | None = None,
    views: Mapping[str, View] | None = None,
) -> Graph:
    """A student that learns the teacher's last map and ends in the teacher's classifier (SimKD).

    The node ``student`` is the network that counts: a copy of the student without its classifier, the projector of
    :class:`mentorch.losses.SimKD`, and a copy of the teacher's classifier, which stays as it is. So it is this network
    that is validated, measured, counted and kept. Labels teach nothing.

    >>> import torch
    >>> from mentorch import networks
    >>> reuse(networks.resnet8(), networks.resnet14(), example=(torch.zeros(2, 3, 8, 8),))
    Graph
      student  learning  _Reused, 88,858 parameters
      teacher  frozen    ResNet, 172,506 parameters
      teacher.layer3 -> student.loss.projector: simkd  x 1

    Args:
        student: is copied.
        teacher: is frozen in place. Its logits must be its classifier's on the mean of its last map.
        example: a small batch, its inputs first: for the shapes, and to check the teacher.
        factor: how much narrower the middle of the projector is.
        gate: of the one edge.
        places: see :func:`distill`.
        views: see :func:`distill`.

    Raises:
        UsageError: for networks that do not show their last map or their classifier, or another kind of teacher.

    References:
        Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022, arXiv 2203.14001.
    """
    if not is_frozen(teacher):
        freeze(teacher)
    networks, seen = {"student": student, "teacher": teacher}, views or {}
    where = Places(networks, places or {}, seen, example, "auto")
    ((source, (target,)),) = where.ends(catalogue()["simkd"])
    head = where.known("teacher_head")
    maps, _ = _shown(networks, str(source), seen, example[0])
    theirs, logits = _shown(networks, target, seen, example[0])
    reads = theirs.ndim == 4 and getattr(head, "in_features", theirs.shape[1]) == theirs.shape[1]
    if not reads or not torch.allclose(head(theirs.mean((2, 3))), logits, rtol=1e-3, atol=1e-4):
        raise UsageError(
            f"simkd: the logits of this {type(teacher).__name__} are not those of its classifier on the mean of its "
            f"last map, {list(theirs.shape)}: it needs a teacher such as a resnet"
        )
    stage, classifier = str(source).removeprefix("student."), where.path("student")
    network = SimKD(teacher_head=head, factor=factor).build(maps, theirs).export(student, stage, classifier)
    own = where.taps("student")
    network.taps = Taps(f"body.{own.stem}", tuple(f"body.{s}" for s in own.stages), "head:in")  # type: ignore[assignment]
    edge = Edge(target, "student.loss.projector", simkd, gate)
    return Graph({"student": network, "teacher": teacher}, [edge], views=views, example=example)


def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference, ``[N]``; the teacher's map is averaged down to the student's size."""
    return hint(student, F.adaptive_avg_pool2d(teacher, (student.shape[2], student.shape[3])))


def _shown(
    networks: Mapping[str, nn.Module], address: str, views: Mapping[str, View], inputs: Any
) -> tuple[Tensor, Tensor]:
    """What a network shows at an address and as its output; it is left as it was."""
    name = address.partition(".")[0]
    tap = Tap(parse(address, networks))
    handle = tap.install(networks[name])
    try:
        tap.open()
        output = look(networks[name], views.get(name), inputs)
        return tap.take(), output
    finally:
        handle.remove()
