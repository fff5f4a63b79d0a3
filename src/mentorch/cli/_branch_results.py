"""What ``mentorch branch`` writes down: results, rows in words, cards of students."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from mentorch import zoo
from mentorch._graph import Graph
from mentorch.cli import _dense
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.cli._dense_teachers import DenseTeacher
from mentorch.data import Normalize, dense
from mentorch.methods._branch._paths import Paths
from mentorch.networks import Branched, cost
from mentorch.training import History

SCHEMA = "mentorch.results/1"
_MAIN = {"segmentation": "miou", "depth": "rmse", "normals": "mean"}


def described(
    recipe: BranchRecipe,
    name: str,
    data: dense.DenseDataset,
    teachers: Mapping[str, DenseTeacher],
    view: Normalize,
) -> dict[str, Any]:
    """``results.json`` without its rows: data, and each teacher on its own task."""
    found: dict[str, Any] = {}
    example = data.train.images[:1].float() / 255
    for task, teacher in teachers.items():
        test = _dense.measured(teacher.network, data, data.test, [task], view, recipe.eval_batch_size)
        size = dataclasses.asdict(cost(teacher.network, example))
        found[task] = {"network": teacher.name, "source": teacher.source, **size, "test": test}
    sizes = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    about = {"classes": len(data.classes), "note": data.note, "fingerprint": data.fingerprint}
    return {
        "schema": SCHEMA,
        "kind": "branch",
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "data": {"name": data.name, **sizes, **about},
        "select": recipe.select,
        "tasks": list(recipe.tasks),
        "dense_teachers": found,
        "teacher": None,
        "student": None,
        "rows": [],
        "summary": [],
    }


def student_card(
    name: str,
    recipe: BranchRecipe,
    data: dense.DenseDataset,
    network: Branched,
    row: Mapping[str, Any],
    parents: tuple[str, ...],
) -> zoo.Card:
    """The card of a student, from which it can be built again without its teachers."""
    channels = data.train.images.shape[1]
    arguments = {
        "num_classes": sum(_dense.outputs_of(data, task) for task in recipe.tasks),
        "in_channels": channels,
        "trunk": recipe.network,
        "branches": network.tree.plan(),
    }
    told = ("method", "seed", "epochs", "best_epoch", "trained_samples", "held_out", "depths")
    return zoo.Card(
        name=name,
        network="branched",
        arguments=arguments,
        task=" + ".join(recipe.tasks),
        dataset=data.name,
        input=zoo.Input(channels, data.size, *_dense.statistics(data)),
        metrics={part: row[part] for part in ("validation", "test")},
        training={key: row[key] for key in told if key in row},
        parents=parents,
        tags={"classes": ", ".join(data.classes)} if "segmentation" in recipe.tasks else {},
    )


def training_macs(graph: Graph, history: History, data: dense.DenseDataset) -> int:
    """Multiply-adds of a training: forward for all nodes, twice that for the backward pass of those that learn.

    Of a search over random paths, with all branches at the middle depth.
    """
    example = data.train.images[:1].float() / 255
    total = 0
    for name, node in graph.nodes.items():
        if isinstance(node, Paths) and node.random:
            before, middle = node.chosen, max(node.limits.values()) // 2
            size = cost(node.choose(dict.fromkeys(node.limits, middle)), example).macs
            node.choose(before)
        else:
            size = cost(node, example).macs
        total += size if name in graph.frozen else 3 * size
    return history.samples * total


def in_one_line(row: Mapping[str, Any], recipe: BranchRecipe) -> str:
    """A finished row in one line."""
    if "error" in row:
        return f"{row['method']} seed {row['seed']}: failed: {row['error']}"
    found = row["test"][recipe.select]
    names = {f"{task} {_MAIN[task]}" for task in recipe.tasks}
    scores = ", ".join(f"{name} {value:.3f}" for name, value in found.items() if name in names)
    return f"{row['method']} seed {row['seed']}: {scores}  ({row['epochs']} epochs, {row['seconds']:.0f} s)"
