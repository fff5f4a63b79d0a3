"""``mentorch run`` on a graph that is declared in a file."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mentorch import gates, losses, zoo
from mentorch._errors import UsageError, unknown
from mentorch._graph import Edge, Graph, View, freeze
from mentorch.cli import _networks, _training
from mentorch.cli._compare import device_of
from mentorch.cli._recipe import EdgeRecipe, GraphRecipe, NodeRecipe
from mentorch.cli._run import Session
from mentorch.comparison import Method, compare
from mentorch.data import Dataset

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

    named = _make(recipe.nodes[target], data)
    graph = draw(_node(recipe.nodes[target], data))
    session.tell(str(graph))
    if session.dry_run:
        return

    def keep(network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        metrics = {"validation": row["validation"], "test": row["test"]}
        training = {key: row[key] for key in ("seed", "epochs", "best_epoch", "trained_samples")}
        made = _networks.card(folder.name, named, data, views.get(target), metrics=metrics, training=training)
        zoo.save(network, folder, made)

    with session.hold():
        results = compare(
            lambda: _node(recipe.nodes[target], data),
            {"graph": Method(draw, node=target)},
            data.to(device_of(recipe)),
            fit=_training.trainer(recipe, data, node=target),
            run=session.folder,
            seeds=recipe.seeds,
            view=views.get(target),
            augment=_training.augmentation(recipe, data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=recipe.knn,
            student_name=named.name,
            kind="graph",
            resume=session.resume,
            save=keep if recipe.save_students != "none" else None,
            on_row=session.on_row,
        )
        session.finish(results)


def _make(node: NodeRecipe, data: Dataset) -> _networks.Named:
    return _networks.make(node.network, data, node.weights)


def _node(node: NodeRecipe, data: Dataset) -> nn.Module:
    network = _make(node, data).network
    return freeze(network) if node.frozen else network


def _view(node: NodeRecipe, recipe: GraphRecipe, data: Dataset) -> View | None:
    asked = _networks.normalisation(node.mean, node.std, data)
    return asked or _make(node, data).view or _training.view(recipe, data)


def _edge(edge: EdgeRecipe) -> Callable[[], Edge]:
    """An edge of the file; adapters are made anew for each graph."""
    loss = _loss(edge.loss)
    gate = edge.gate if isinstance(edge.gate, int | float) else _called("gate", edge.gate, GATES)()
    return lambda: Edge(
        edge.source, edge.target, loss, gate, adapter=losses.Regressor() if edge.adapter else None, name=edge.name
    )


def _loss(spec: str | Mapping[str, Mapping[str, Any]]) -> Any:
    known = {name: info.function for name, info in losses.catalogue().items()}
    if isinstance(spec, str):
        spec = {spec: {}}
    made = _called("loss", spec, known)
    return made if made.keywords else made.func


def _called(
    kind: str, spec: Mapping[str, Mapping[str, Any]], known: Mapping[str, Callable[..., Any]]
) -> functools.partial[Any]:
    """``{name: {option: value}}`` as a function with its options bound.

    Raises:
        UsageError: for a name or an option that does not exist.
    """
    if len(spec) != 1:
        raise UsageError(f"a {kind} is written 'name' or '{{name: {{option: value}}}}', got {dict(spec)}")
    ((name, options),) = spec.items()
    if name not in known:
        raise unknown(kind, name, known)
    accepted = inspect.signature(known[name]).parameters
    for option in options or {}:
        if option not in accepted:
            raise unknown(f"option of {kind} {name!r}", option, accepted)
    return functools.partial(known[name], **(options or {}))
