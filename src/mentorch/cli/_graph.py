"""``mentorch run`` on a graph that is declared in a file."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mentorch import gates, losses
from mentorch._edge import Edge
from mentorch._errors import UsageError, unknown
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _training
from mentorch.cli._experiment import carry_out
from mentorch.cli._recipe import EdgeRecipe, GraphRecipe, NodeRecipe
from mentorch.cli._run import Session
from mentorch.comparison import Method
from mentorch.data import Dataset

Spec = str | Mapping[str, Mapping[str, Any]]

GATES: Mapping[str, Callable[..., gates.Gate]] = {
    kind.__name__.lower(): kind
    for kind in (
        gates.Constant,
        gates.Linear,
        gates.Cosine,
        gates.Between,
        gates.Steps,
        gates.Warmup,
        gates.Decay,
    )
}


def run(recipe: GraphRecipe, session: Session) -> None:
    """Train the graph, once per seed, and evaluate one node."""
    data = _training.dataset(recipe, recipe.train_size)
    edges = [_edge(edge) for edge in recipe.edges]
    learning = [name for name, node in recipe.nodes.items() if not node.frozen]
    if not learning:
        raise UsageError("the recipe has no learning node: say 'frozen: false' of one")
    target = recipe.node or learning[0]
    if target not in learning:
        raise unknown("learning node", target, learning)
    views = {name: view for name, node in recipe.nodes.items() if (view := _view(node, recipe, data)) is not None}

    def draw(network: nn.Module) -> Graph:
        nodes = {name: network if name == target else _node(node, data) for name, node in recipe.nodes.items()}
        return Graph(nodes, [edge() for edge in edges], views=views)

    student = functools.partial(_make, recipe.nodes[target], data)
    graph = draw(student().network)
    graph.build(*_training.example(data))
    fit = _training.trainer(recipe, data, node=target)
    session.tell(str(graph))
    if session.dry_run:
        return
    with session.hold():
        methods = {"graph": Method(draw, node=target)}
        carry_out(recipe, session, data, methods, student=student, fit=fit, view=views.get(target))


def _make(node: NodeRecipe, data: Dataset) -> _networks.Named:
    return _networks.make(node.network, data, node.weights, node.options)


def _node(node: NodeRecipe, data: Dataset) -> nn.Module:
    network = _make(node, data).network
    return freeze(network) if node.frozen else network


def _view(node: NodeRecipe, recipe: GraphRecipe, data: Dataset) -> View | None:
    asked = _networks.normalisation(node.mean, node.std, data)
    return asked or _make(node, data).view or _training.view(recipe, data)


def _edge(edge: EdgeRecipe) -> Callable[[], Edge]:
    """An edge of the file; adapters are made anew for each graph."""
    loss = _loss(edge.loss)
    gate = edge.gate if isinstance(edge.gate, int | float) else _gate(edge.gate)
    return lambda: Edge(
        edge.source, edge.target, loss, gate, adapter=losses.Regressor() if edge.adapter else None, name=edge.name
    )


def _gate(spec: Spec) -> gates.Gate:
    made = _called("gate", spec, GATES)
    try:
        gate: gates.Gate = made()
        return gate
    except (TypeError, ValueError) as error:
        raise UsageError(f"gate {spec}: {error}") from error


def _loss(spec: Spec) -> Any:
    made = _called("loss", spec, {name: info.function for name, info in losses.catalogue().items()})
    return made if made.keywords else made.func


def _called(kind: str, spec: Spec, known: Mapping[str, Callable[..., Any]]) -> functools.partial[Any]:
    """``name`` or ``{name: {option: value}}`` as a function with its options bound.

    Raises:
        UsageError: for a name or an option that does not exist.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if len(spec) != 1:
        raise UsageError(f"a {kind} is written 'name' or '{{name: {{option: value}}}}', got {dict(spec)}")
    ((name, options),) = spec.items()
    if name not in known:
        raise unknown(kind, name, known)
    # what a loss compares is told by the edge; only what is named may be set here
    named = [
        p.name for p in inspect.signature(known[name]).parameters.values() if kind == "gate" or p.kind is p.KEYWORD_ONLY
    ]
    for option in options:
        if option not in named:
            raise unknown(f"option of {kind} {name!r}", option, named)
    return functools.partial(known[name], **options)
