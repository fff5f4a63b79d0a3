"""What an amalgamation is measured against, and the pictures of where all networks put the same images."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mentorch._files import write_atomic
from mentorch._graph import Graph
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._specialists import Specialist, own_samples
from mentorch.comparison import latency, outputs
from mentorch.data import Dataset, LabelSpace, Split
from mentorch.methods import JointEnsemble, accuracy_by_task, common_space
from mentorch.networks import cost
from mentorch.training import evaluating


def baselines(
    recipe: AmalgamateRecipe, teachers: Mapping[str, Specialist], space: LabelSpace, data: Dataset, kd: Any
) -> dict[str, Any]:
    """Each teacher on its own task, and all of them together with what that costs, as ``results.json`` has them."""
    example, size = data.train.images[:1].float() / 255, recipe.eval_batch_size
    found: dict[str, Any] = {"teachers": {}}
    for name, teacher in teachers.items():
        own = own_samples(space, name, data.test)
        accuracy = None
        if len(own):
            logits, _ = outputs(teacher.network, own, view=teacher.view, batch_size=size)
            placed, labels = space.placed(name, logits), space.to_joint(name, own.labels)
            accuracy = accuracy_by_task(space, placed, labels)[name]
        found["teachers"][name] = {
            "network": teacher.name,
            "source": teacher.source,
            "classes": len(teacher.classes),
            **dataclasses.asdict(cost(teacher.network, example if teacher.view is None else teacher.view(example))),
            "test": {"accuracy": accuracy, "images": len(own)},
        }
    networks = {name: teacher.network for name, teacher in teachers.items()}
    views = {name: teacher.view for name, teacher in teachers.items() if teacher.view is not None}
    together = JointEnsemble(networks, space, kd=kd, views=views).to(example.device)
    logits, _ = outputs(together, data.test, batch_size=size)
    right = accuracy_by_task(space, logits, data.test.labels)
    found["ensemble"] = {
        **dataclasses.asdict(cost(together, example)),
        "latency": latency(together, example),
        "test": {f"accuracy, {key}": value for key, value in right.items()},
    }
    return found


def keep_spaces(graph: Graph, test: Split, count: int, classes: Sequence[str], file: Path) -> None:
    """Where all networks put some test images, for the report."""
    shown = _spread(test, count)
    with evaluating(graph):
        spaces = common_space(graph, shown.images.float() / 255)
    tensors = {f"features.{node}": x for node, x in spaces.features.items()}
    tensors |= {f"common.{node}": x for node, x in spaces.common.items()} | {"labels": shown.labels}
    write_tensors(file, tensors, {"classes": json.dumps(tuple(classes)), "name": file.stem})


def _spread(split: Split, count: int) -> Split:
    """About so many samples, equally many of each class."""
    classes = int(split.labels.max()) + 1
    each = max(1, count // classes)
    rows = [(split.labels == k).nonzero()[:each, 0] for k in range(classes)]
    return split.select(torch.cat(rows))


def write_tensors(path: Path, tensors: Mapping[str, Any], told: dict[str, str] | None = None) -> None:
    """A safetensors file, whole or not there."""
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, lambda place: save_file(own, place, metadata=told))
