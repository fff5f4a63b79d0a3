"""Layerwise amalgamation in three stages."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._errors import UsageError, unknown
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.data import LabelSpace
from mentorch.losses import Concatenated, hint
from mentorch.methods._amalgamate._codes import Coded, Codes, Group, Seen, read, width
from mentorch.methods._amalgamate._draw import STUDENT, amalgamate, check
from mentorch.methods._amalgamate._relay import Relay
from mentorch.training import History

STAGES = ("codes", "layers", "together")
Fit = Callable[..., History]
_MSE = partial(Concatenated, target="mse")


@dataclass(frozen=True)
class LayerwiseStage:
    """A finished stage.

    Attributes:
        name: ``codes``, ``layers`` or ``together``.
        graph: what was trained; after the last one its node ``student`` is done.
        history: what ``fit`` returned; None where nothing had to be trained.
    """

    name: str
    graph: Graph
    history: History | None


def layerwise(
    teachers: Mapping[str, nn.Module],
    student: nn.Module,
    train: Iterable[Any],
    fit: Fit | Mapping[str, Fit],
    *,
    space: LabelSpace,
    layers: Sequence[Group] | None = None,
    codes: Literal["learned", "pca"] = "learned",
    views: Mapping[str, View] | None = None,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[LayerwiseStage]:
    r"""Amalgamate layer by layer: first codes for what the teachers' layers hold, then layers that make them.

    1. ``codes``: for each group of layers a linear auto-encoder of the teachers' outputs X, joined along the channels:
       the least :math:`mse(D E X, X)`; its code has the width of the student's layer.
    2. ``layers``: each layer of the student learns its own code alone, from the code of the layer before it, through an
       adapter A: :math:`mse(S_l(A_{l-1} E_{l-1} X_{l-1}), E_l X_l)`, the last one the teachers' logits. What stands
       between two layers (activations, pooling, normalisation, a shortcut) is the student's own. All layers are
       trained in one pass and do not influence each other.
    3. ``together``: the adapters are folded into the layers before them, exactly, and the student learns the teachers'
       logits end to end by their mean squared difference.

    Without labels. The student is trained in place; a stage is trained when the loop asks for it. The one-stage variant
    is ``amalgamate(teachers, student, losses.Layerwise, space=space)``.

    Args:
        teachers: name -> network, two or more, frozen in place; widths may differ, and architectures too where
            ``layers`` says what belongs together.
        student: has the joint classes.
        train: batches whose first part are the inputs, as ``fit`` takes them.
        fit: :func:`mentorch.fit` with everything bound but the graph, the data, ``run`` and ``resume``; or one for each
            of the stages ``codes``, ``layers`` and ``together``, which want different learning rates.
        space: the joint classes, one part for each teacher.
        layers: groups of convolutions or linear layers, in the order in which they run, without the last layer:
            node -> module, for all nodes. Unless given, all of them, where all networks have equally many.
        codes: ``learned``, as published, or ``pca``: their optimum, from one pass over the data.
        views: per node, what it sees of the inputs.
        run: folder with one run folder for each stage.
        resume: given to ``fit``: finished stages are read, and the unfinished one goes on.

    Raises:
        UsageError: as :func:`amalgamate`; for layers that cannot be paired or folded, or maps smaller than the
            student's; and for ``resume`` without ``run``.

    References:
        Shen et al., "Amalgamating Knowledge towards Comprehensive Classification", AAAI 2019, arXiv 1811.02796. There
        the teachers share an architecture, and the rates were 0.05 to 0.001, 0.5 to 0.001, and 1e-4, over 30, 100 and
        300 epochs.
    """
    check(teachers, space)
    if codes not in ("learned", "pca"):
        raise unknown("kind of codes", codes, ("learned", "pca"))
    if resume and run is None:
        raise UsageError("resume needs a run folder: pass run=")
    fits = fit if isinstance(fit, Mapping) else dict.fromkeys(STAGES, fit)
    if missing := [name for name in STAGES if name not in fits and (name, codes) != ("codes", "pca")]:
        raise UsageError(f"fit says nothing about stage {missing[0]!r} (stages: {', '.join(STAGES)})")
    for teacher in teachers.values():
        freeze(teacher)
    views = dict(views or {})
    first = next(iter(train))
    inputs = (first if isinstance(first, Tensor) else first[0])[:2]
    groups = [dict(group) for group in layers] if layers is not None else _paired(teachers, student, views, inputs)
    _check_groups(groups, teachers, student)

    def stages() -> Iterator[LayerwiseStage]:
        def trained(name: str, graph: Graph) -> LayerwiseStage:
            place: dict[str, Any] = {}
            if run is not None:
                place = {"run": Path(run) / f"{STAGES.index(name) + 1}-{name}", "resume": resume}
            return LayerwiseStage(name, graph, fits[name](graph, train, **place))

        seen, auto = _first(teachers, student, groups, inputs, space, views)
        graph = _code_graph(seen, auto, groups)
        if codes == "pca":
            auto.solve(seen, train)
            yield LayerwiseStage("codes", graph, None)
        else:
            yield trained("codes", graph)
        relay = Relay(student, groups, views.get(STUDENT))
        yield trained("layers", _layer_graph(Coded(seen, auto), relay, groups, teachers, space))
        relay.fold()
        yield trained("together", amalgamate(teachers, student, space=space, kd=_MSE, views=views))

    return stages()


def _first(
    teachers: Mapping[str, nn.Module],
    student: nn.Module,
    groups: Sequence[Group],
    inputs: Tensor,
    space: LabelSpace,
    views: Mapping[str, View],
) -> tuple[Seen, Codes]:
    """What the teachers show, and codes of the student's widths for it, both tried on two images."""
    shown, output = _shown(student, groups, views.get(STUDENT), inputs)
    seen = Seen(teachers, groups, [feature.shape[1:] for feature in shown], views)
    logits = seen(inputs)
    _MSE(blocks=[space.parts[name] for name in teachers]).build(output, *(logits[f"of_{name}"] for name in teachers))
    layers = [student.get_submodule(group[STUDENT]) for group in groups]
    totals = [sum(width(net.get_submodule(group[name])) for name, net in teachers.items()) for group in groups]
    return seen, Codes(layers, totals).to(shown[0])


def _code_graph(seen: Seen, codes: Codes, groups: Sequence[Group]) -> Graph:
    edges = [Edge(f"seen:layer{i}", f"codes:layer{i}", hint, name=group[STUDENT]) for i, group in enumerate(groups)]
    return Graph({"seen": freeze(_Pass()), "codes": codes}, edges, views={"seen": seen, "codes": seen})


def _layer_graph(
    coded: Coded, relay: Relay, groups: Sequence[Group], teachers: Iterable[str], space: LabelSpace
) -> Graph:
    edges = [Edge(f"seen:code{i}", f"{STUDENT}:layer{i}", hint, name=group[STUDENT]) for i, group in enumerate(groups)]
    logits = _MSE(blocks=[space.parts[name] for name in teachers])
    edges.append(Edge(tuple(f"seen:of_{name}" for name in teachers), f"{STUDENT}:output", logits, name="output"))
    return Graph({"seen": freeze(_Pass()), STUDENT: relay}, edges, views={"seen": coded, STUDENT: coded})


class _Pass(nn.Module):
    """What its view shows."""

    def forward(self, seen: dict[str, Any]) -> dict[str, Any]:
        return seen


def _paired(
    teachers: Mapping[str, nn.Module], student: nn.Module, views: Mapping[str, View], inputs: Any
) -> list[Group]:
    """Every convolution and linear layer but the last, by its number in the order in which they run."""
    networks = {**teachers, STUDENT: student}
    own = {name: _running(network, views.get(name), inputs) for name, network in networks.items()}
    if len({len(paths) for paths in own.values()}) > 1:
        counts = ", ".join(f"{name} {len(paths)}" for name, paths in own.items())
        raise UsageError(f"the networks differ in their numbers of layers ({counts}): name groups with layers=")
    return [dict(zip(own, group, strict=True)) for group in list(zip(*own.values(), strict=True))[:-1]]


def _check_groups(groups: Sequence[Group], teachers: Mapping[str, nn.Module], student: nn.Module) -> None:
    networks = {**teachers, STUDENT: student}
    if not groups:
        raise UsageError("layerwise needs at least one layer before the last one")
    for group in groups:
        if set(group) != set(networks):
            raise UsageError(f"a group of layers names a module of each of {', '.join(networks)}, not {dict(group)}")
        for name, path in group.items():
            modules = dict(networks[name].named_modules())
            if path not in modules:
                raise unknown(f"module of {name!r}", path, modules)
            layer = modules[path]
            if not isinstance(layer, nn.Conv2d | nn.Linear) or (getattr(layer, "groups", 1) != 1 and name == STUDENT):
                raise UsageError(
                    f"{name}.{path} is {layer}: layers are convolutions, ungrouped in the student, or linear"
                )


@torch.no_grad()
def _running(network: nn.Module, view: View | None, inputs: Any) -> list[str]:
    """The convolutions and linear layers of a network, in the order in which they run."""
    layers = [(path, each) for path, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    ran: dict[str, None] = {}

    handles = [each.register_forward_hook(lambda *_, path=path: ran.setdefault(path)) for path, each in layers]
    try:
        with _evaluating(network):
            network(inputs if view is None else view(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return list(ran)


@torch.no_grad()
def _shown(student: nn.Module, groups: Sequence[Group], view: View | None, inputs: Any) -> tuple[list[Tensor], Tensor]:
    """What the student's layers and the student show; it is left as it was."""
    with _evaluating(student):
        return read(student, [group[STUDENT] for group in groups], inputs if view is None else view(inputs))


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
