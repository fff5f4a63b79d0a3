"""``mentorch run`` on a graph that is declared in a file."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mentorch import gates, losses
from mentorch._edge import Edge, Loss, loss_name
from mentorch._errors import UsageError, unknown
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _presets, _training
from mentorch.cli._experiment import carry_out
from mentorch.cli._graph_recipe import EdgeRecipe, GraphRecipe, NodeRecipe
from mentorch.cli._notation import check_wrapper, options_of, value, wrapper
from mentorch.cli._run import Session
from mentorch.comparison import Method, describe_graph
from mentorch.data import Dataset
from mentorch.reports import graph_text

Spec = str | Mapping[str, Mapping[str, Any]]


def run(recipe: GraphRecipe, session: Session) -> None:
    """Train the graph, once per seed, and evaluate one node."""
    data = _training.dataset(recipe, recipe.train_size)
    learning = [name for name, node in recipe.nodes.items() if not node.frozen]
    if not learning:
        raise UsageError("the recipe has no learning node: say 'frozen: false' of one")
    target = recipe.node or learning[0]
    if target not in learning:
        raise unknown("learning node", target, learning)
    made = {name: _make(node, data) for name, node in recipe.nodes.items()}
    views = {name: view for name in made if (view := _view(recipe, name, made[name], data)) is not None}
    compose = _composer(recipe, views, data)

    def draw(network: nn.Module) -> Graph:
        nodes = {name: network if name == target else _node(node, data) for name, node in recipe.nodes.items()}
        return compose(nodes)

    student = functools.partial(_make, recipe.nodes[target], data)
    graph = draw(student().network)
    if target not in graph.learning:
        raise unknown("learning node", target, graph.learning)
    for name, node in recipe.nodes.items():
        _check_random(name, node, bool(made[name].source), name in graph.frozen)
    graph.build(*_training.example(data))
    fit = functools.partial(_training.trainer(recipe, data, node=target), **_steering(recipe, graph, data))
    session.tell(graph_text(describe_graph(graph)))
    if session.dry_run:
        return
    with session.hold():
        methods = {"graph": Method(draw, node=target)}
        carry_out(recipe, session, data, methods, student=student, fit=fit, view=views.get(target))


def _composer(recipe: GraphRecipe, views: Mapping[str, View], data: Dataset) -> Callable[[dict[str, nn.Module]], Graph]:
    """From networks to the graph that a recipe declares; everything that is written there is checked now."""
    if recipe.preset is not None:
        drawn = _presets.read(recipe.preset, loss, views, data)
        if not (devices := _devices(recipe)):
            return drawn
        return lambda nodes: _moved(drawn(nodes), devices)
    edges = [_edge(edge) for edge in recipe.edges]
    return lambda nodes: Graph(nodes, [edge() for edge in edges], views=views, devices=_devices(recipe))


def _devices(recipe: GraphRecipe) -> dict[str, torch.device]:
    """Where nodes live that do not live with the others."""
    found = {}
    for name, node in recipe.nodes.items():
        if node.device is not None:
            try:
                found[name] = torch.empty(0, device=node.device).device
            except (RuntimeError, AssertionError) as error:
                reason = str(error).splitlines()[0]
                raise UsageError(f"node {name!r} cannot live on device {node.device!r}: {reason}") from error
    return found


def _moved(graph: Graph, devices: Mapping[str, torch.device]) -> Graph:
    return Graph(dict(graph.nodes), graph.edges, views=graph.views, devices=devices)


def _steering(recipe: GraphRecipe, graph: Graph, data: Dataset) -> dict[str, Any]:
    """Optimisers and schedules by node, where one has options of its own."""
    if not any(node.training for node in recipe.nodes.values()):
        return {}
    for name, node in recipe.nodes.items():
        if node.training and name not in graph.learning:
            raise UsageError(f"training has no effect on node {name!r}: no edge points to it")
    own = {name: recipe.training_of(name) for name in graph.learning}
    steps = _training.steps(recipe, data, recipe.epochs)
    return {
        "optimizer": {name: _training.optimizer(each) for name, each in own.items()},
        "schedule": {name: _training.schedule(each, steps) for name, each in own.items()},
    }


def _make(node: NodeRecipe, data: Dataset) -> _networks.Named:
    return _networks.make(node.network, data, node.weights, node.options)


def _node(node: NodeRecipe, data: Dataset) -> nn.Module:
    network = _make(node, data).network
    return freeze(network) if node.frozen else network


def _view(recipe: GraphRecipe, name: str, made: _networks.Named, data: Dataset) -> View | None:
    node = recipe.nodes[name]
    asked = _networks.normalisation(node.mean, node.std, data)
    return asked or made.view or _training.view(recipe, data)


def _check_random(name: str, node: NodeRecipe, given: bool, frozen: bool) -> None:
    """A network that only teaches, and that nobody trained, is almost surely a slip.

    Networks of other packages may bring their own weights; of those only timm's say whether they do.
    """
    own = ":" in node.network and not (node.network.startswith("timm:") and not node.options.get("pretrained"))
    untrained = frozen and not given and not own
    if untrained and not node.random:
        raise UsageError(
            f"node {name!r} only teaches, and its weights are random: name a zoo folder or NAME:WEIGHTS, "
            "or say 'random: true' of it"
        )
    if node.random and not untrained:
        raise UsageError(f"random has no effect on node {name!r}: it {'has weights' if frozen else 'learns'}")


def _edge(edge: EdgeRecipe) -> Callable[[], Edge]:
    """An edge of the file; what has weights is made anew for each graph."""
    found, gate = loss(edge.loss), gates.from_data(edge.gate)
    return lambda: Edge(
        edge.source,
        edge.target,
        _made(found),
        gate,
        adapter=losses.Regressor() if edge.adapter else None,
        name=edge.name,
    )


def loss(spec: Spec) -> Loss:
    """``kd``, ``{kd: {temperature: 4}}`` or ``{where_correct-kd: {temperature: 4}}``; of one with weights the class.

    Raises:
        UsageError: for another form, and for a loss, a wrapper or an option that does not exist.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise UsageError(f"a loss is written 'name' or '{{name: {{option: value}}}}', got {spec!r}")
    ((head, options),) = spec.items()
    *wrappers, name = str(head).split("-")
    infos = losses.catalogue()
    if name not in infos:
        raise unknown("loss", head, infos)
    found = infos[name].function
    if options:
        found = functools.partial(found, **{option: _option(name, option, raw) for option, raw in options.items()})
    for around in reversed(wrappers):
        check_wrapper(around, name)
        found = wrapper(around)(found)
    return found


def _option(name: str, option: str, raw: Any) -> Any:
    """A value that was written for an option; what only the surroundings know is taken as it is."""
    known, function = options_of(name), losses.catalogue()[name].function
    # what a loss compares is told by the edge; only what is named may be set here
    named = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if option not in named:
        raise unknown(f"option of loss {name!r}", option, named)
    return value(f"{name}.{option}", known[option], raw) if option in known else raw


def _made(found: Loss) -> Loss:
    """The loss that an edge gets: of a class, what it makes."""
    if not isinstance(getattr(found, "func", found), type):
        return found
    try:
        made: Any = found()
        return made  # type: ignore[no-any-return]
    except TypeError as error:
        raise UsageError(f"loss {loss_name(found)}: {error}") from error
