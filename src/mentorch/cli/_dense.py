"""Dense tasks on the command line: their data, outputs, losses and measurements."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import losses, metrics
from mentorch._errors import RunError, UsageError
from mentorch._graph import View
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.data import Augment, Batches, Color, Normalize, dense
from mentorch.training import evaluating

FROM_LABELS: Mapping[str, Callable[..., Tensor]] = {
    "segmentation": partial(losses.cross_entropy, ignore_index=dense.IGNORE),
    "depth": losses.depth_l1,
    "normals": losses.normal_cosine,
}


def data_of(recipe: BranchRecipe) -> dense.DenseDataset:
    """The data set of a recipe.

    Raises:
        UsageError: if it does not exist, or lacks the targets of a task.
    """
    size = recipe.size[0] if len(recipe.size) == 1 else (recipe.size[0], recipe.size[1])
    wanted = recipe.train_size
    if recipe.data == "scenes" and wanted is not None:
        return dense.scenes(size, train=wanted, validation=max(1, wanted // 10), test=max(1, wanted // 4))
    found = dense.load(recipe.data, size=size, validation=recipe.val_fraction, split_seed=recipe.split_seed)
    for task in recipe.tasks:
        if task not in found.train.targets:
            raise UsageError(f"{recipe.data} has no {task}: it has {', '.join(found.train.targets)}")
    if wanted is not None and wanted < len(found.train):
        found = dense.DenseDataset.of(
            found.name,
            train=found.train.select(torch.arange(wanted)),
            validation=found.validation,
            test=found.test,
            classes=found.classes,
            camera=found.camera,
            note=found.note,
        )
    return found


def augmentation(recipe: BranchRecipe) -> Augment | None:
    """What is done to training images and their targets."""
    if recipe.augment == "none":
        return None
    return dense.Together((dense.Flip(), dense.Zoom(1.0, 1.5), dense.ImagesOnly(Color(0.2, 0.2, 0.2))))


def view_of(data: dense.DenseDataset) -> Normalize:
    """What networks see of the inputs."""
    return Normalize(*statistics(data))


def statistics(data: dense.DenseDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that networks are fed with; a channel that is the same everywhere stays so."""
    return data.mean, tuple(std or 1.0 for std in data.std)


def outputs_of(data: dense.DenseDataset, task: str) -> int:
    """Outputs per pixel."""
    return {"segmentation": len(data.classes), "depth": 1, "normals": 3}[task]


def from_teachers(recipe: BranchRecipe) -> dict[str, Any]:
    """Task -> loss between student and teacher, and its weight."""
    own: dict[str, Callable[..., Tensor]] = {
        "segmentation": partial(losses.pixel_kd, hard=recipe.segmentation == "hard"),
        "depth": losses.depth_l1,
        "normals": losses.normal_cosine,
    }
    return {task: (own[task], recipe.weight.get(task, 1.0)) for task in recipe.tasks}


def validation_metrics(tasks: Sequence[str]) -> dict[str, Callable[[Any, Any], Tensor]]:
    """What is told of validation images after each epoch: the loss of each task from labels, and their sum."""

    def of(task: str, output: Any, labels: Mapping[str, Tensor]) -> Tensor:
        return FROM_LABELS[task](output if isinstance(output, Tensor) else output[task], labels[task])

    def loss(output: Any, labels: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([of(task, output, labels) for task in tasks]).sum(0)

    own = {task: partial(of, task) for task in tasks} if len(tasks) > 1 else {}
    return {"loss": loss, **own}


def measured(
    network: nn.Module, data: dense.DenseDataset, split: dense.DenseSplit, tasks: Sequence[str], view: View, size: int
) -> dict[str, float]:
    """``"TASK measure"`` -> value over a whole split, images one batch of ``size`` after the other.

    What no pixel has a label for is left out.

    Raises:
        RunError: if the network's answers are not finite.
    """
    streams: dict[str, metrics.Streaming[Any]] = {}
    for task in tasks:
        if task == "segmentation":
            streams[task] = metrics.segmentation(len(data.classes))
        else:
            streams[task] = metrics.depth() if task == "depth" else metrics.normals()
    with evaluating(network):
        for batch in Batches(split, size):
            output = network(view(batch.inputs))
            for task, stream in streams.items():
                told = output if isinstance(output, Tensor) else output[task]
                if not told.isfinite().all():
                    raise RunError(f"the network has diverged: its {task} of these images is not finite")
                stream.update(told, batch.labels[task])
    found: dict[str, float] = {}
    for task, stream in streams.items():
        scores = dataclasses.asdict(stream.compute())
        found |= {f"{task} {name}": float(v) for name, v in scores.items() if isinstance(v, float) and math.isfinite(v)}
    return found
