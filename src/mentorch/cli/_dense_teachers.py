"""The teachers of ``mentorch branch``: kept ones, and those that are trained first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from mentorch import zoo
from mentorch._edge import Edge
from mentorch._errors import UsageError
from mentorch._freeze import freeze
from mentorch._graph import Graph
from mentorch.cli import _dense, _training
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.cli._run import Session
from mentorch.comparison import training_batches
from mentorch.data import Batches, Normalize, dense
from mentorch.networks import EncoderDecoder, build
from mentorch.networks._branched import check_alike
from mentorch.training import Monitor

SEED = 0


@dataclass(frozen=True)
class DenseTeacher:
    """A network for one dense task.

    Attributes:
        network: given, or with random weights and yet to be trained.
        name: of the network.
        source: the folder it is from; empty while it is to be trained.
    """

    network: EncoderDecoder
    name: str
    source: str = ""


def planned(recipe: BranchRecipe, data: dense.DenseDataset) -> dict[str, DenseTeacher]:
    """The teacher of each task.

    Raises:
        UsageError: for a network without decoder blocks, or a card of another task, normalisation or size of output.
    """
    found: dict[str, DenseTeacher] = {}
    for task in recipe.tasks:
        if task in recipe.teachers:
            found[task] = _given(recipe.teachers[task], task, data)
            continue
        torch.manual_seed(SEED)
        outputs = _dense.outputs_of(data, task)
        made = build(recipe.network, num_classes=outputs, in_channels=data.train.images.shape[1], image_size=data.size)
        found[task] = DenseTeacher(_checked(made, recipe.network), recipe.network)
    first = next(iter(found.values())).network
    for task, teacher in found.items():
        check_alike(first, teacher.network, task)
    return found


def _checked(network: nn.Module, name: str) -> EncoderDecoder:
    if not isinstance(network, EncoderDecoder):
        raise UsageError(f"{name} does not answer at every pixel: take segnet, unet, deeplab_NAME, or a tiny one")
    return network


def _given(folder: str, task: str, data: dense.DenseDataset) -> DenseTeacher:
    network, card = zoo.load(folder)
    outputs = _dense.outputs_of(data, task)
    if card.task != task or card.arguments.get("num_classes") != outputs:
        has = f"{card.task} with {card.arguments.get('num_classes')} outputs"
        raise UsageError(f"{folder} is for {has}, not for {task} with {outputs}")
    if task == "segmentation" and card.classes != data.classes:
        raise UsageError(f"{folder} has other classes than {data.name}")
    if card.input is not None and (card.input.mean, card.input.std) != _dense.statistics(data):
        raise UsageError(f"{folder} was trained with another normalisation than that of {data.name}")
    return DenseTeacher(_checked(network, card.network), card.network, folder)


def trained(
    task: str,
    teacher: DenseTeacher,
    recipe: BranchRecipe,
    session: Session,
    data: dense.DenseDataset,
    view: Normalize,
) -> DenseTeacher:
    """A teacher ready to teach: one that is yet to be trained is, and kept with its card."""
    device = data.train.images.device
    folder = session.folder / "nodes" / task
    if not teacher.source and session.resume and (folder / "card.json").exists():
        teacher = _given(str(folder), task, data)
    if teacher.source:
        return replace(teacher, network=freeze(teacher.network).to(device))
    epochs = recipe.teacher_epochs or len(teacher.network.decoder) * recipe.search_epochs + recipe.epochs
    session.tell(f"training {task} {teacher.name} on {len(data.train)} images of {data.name}, {epochs} epochs")
    graph = Graph({task: teacher.network}, [Edge(f"labels.{task}", task, _dense.FROM_LABELS[task])], views={task: view})
    history = _training.trainer(recipe, data, epochs=epochs)(
        graph,
        training_batches(data.train, recipe.batch_size, augment=_dense.augmentation(recipe), seed=SEED),
        validation=Batches(data.validation, recipe.eval_batch_size),
        metrics=_dense.validation_metrics([task]),
        monitor=Monitor("loss", node=task),
        diagnose=None,
        run=session.folder / "fits" / task / f"seed-{SEED}",
        resume=session.resume,
        select=recipe.select,
    )
    metrics = {
        part: _dense.measured(teacher.network, data, getattr(data, part), [task], view, recipe.eval_batch_size)
        for part in ("validation", "test")
    }
    card = _card(f"{session.folder.name}/{task}", task, teacher, data, metrics, len(history.records))
    zoo.save(teacher.network, folder, card)
    return replace(teacher, network=freeze(teacher.network), source=str(folder))


def _card(
    name: str,
    task: str,
    teacher: DenseTeacher,
    data: dense.DenseDataset,
    metrics: Mapping[str, Mapping[str, float]],
    epochs: int,
) -> zoo.Card:
    channels = data.train.images.shape[1]
    return zoo.Card(
        name=name,
        network=teacher.name,
        arguments={"num_classes": _dense.outputs_of(data, task), "in_channels": channels},
        task=task,
        classes=data.classes if task == "segmentation" else (),
        dataset=data.name,
        input=zoo.Input(channels, data.size, *_dense.statistics(data)),
        metrics=metrics,
        training={"epochs": epochs, "seed": SEED, "images": len(data.train)},
    )
