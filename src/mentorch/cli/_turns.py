"""What commands that train in turn share: many trainings as one row, networks with less structure on cards."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch._files import in_lines, write_text
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.cli import _methods, _networks, _training
from mentorch.cli._recipe import Recipe, check
from mentorch.cli._run import Session
from mentorch.cli._transfer import DistillRecipe
from mentorch.comparison import Teacher, measure, training_batches
from mentorch.data import Batches, Dataset
from mentorch.structure._split import hash_seed
from mentorch.training import History

Structure = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all trainings of a command have in common.

    Attributes:
        recipe: what was asked for.
        session: its run folder.
        data: on the device.
        view: what networks see of the inputs.
        named: the network that it begins with.
    """

    recipe: Recipe
    session: Session
    data: Dataset
    view: View | None
    named: _networks.Named

    def batches(self, seed: int, number: int, *, augmented: bool = True) -> Batches:
        """What the training of this number learns from; the first one sees what a single training would see."""
        own = seed if number == 1 else hash_seed(seed, f"order {number}")
        augment = _training.augmentation(self.recipe, self.data) if augmented else None
        return training_batches(self.data.train, self.recipe.batch_size, augment=augment, seed=own)

    def measured(self, network: nn.Module) -> dict[str, Any]:
        """``validation`` and ``test`` of a row."""
        size = self.recipe.eval_batch_size
        return {
            name: {self.recipe.select: measure(network, split, view=self.view, batch_size=size)}
            for name, split in (("validation", self.data.validation), ("test", self.data.test))
        }

    def keep(
        self,
        network: nn.Module,
        folder: Path,
        row: Mapping[str, Any],
        structure: Structure = (),
        parents: tuple[str, ...] = (),
    ) -> str | None:
        """Keep a network with its card, if that is wanted; where, as rows say it."""
        if self.recipe.save_students == "none":
            return None
        told = ("method", "seed", "epochs", "best_epoch", "trained_samples")
        card = _networks.card(
            f"{self.session.folder.name}/{folder.name}",
            self.named,
            self.data,
            self.view,
            metrics={"validation": row["validation"], "test": row["test"]},
            training={key: row[key] for key in told if key in row},
            graph=row.get("graph"),
        )
        zoo.save(
            network,
            folder,
            dataclasses.replace(card, structure=(*card.structure, *structure), parents=parents or card.parents),
        )
        return str(folder.relative_to(self.session.folder))

    def forget_checkpoints(self, row: Mapping[str, Any]) -> None:
        """Of a finished row the result is kept; what led there is not needed."""
        if "error" not in row:
            for place in (self.session.folder / row["history"]).parent.glob("*/checkpoints"):
                shutil.rmtree(place, ignore_errors=True)
        self.session.on_row(row)


def seen(view: View | None, images: Tensor) -> Tensor:
    """Images as a network sees them."""
    return images if view is None else view(images)


def move(view: View | None, device: torch.device) -> None:
    """Bring what a view owns to where its inputs are."""
    if isinstance(view, nn.Module):
        view.to(device)


def taught(method: str, teacher: Teacher, view: View | None, data: Dataset) -> Callable[[nn.Module], Graph]:
    """How a network learns from a teacher by a method that is given by name."""
    recipe = check(DistillRecipe, {"method": method, "baseline": False})
    assert isinstance(recipe, DistillRecipe)
    made = _methods.make(recipe, {"teacher": teacher}, view, {}, data)[recipe.method]
    if made.strong is not None:
        raise UsageError(f"{method} reads two views of each sample: mentorch distill and compare show them")
    return made.draw


def as_teacher(named: _networks.Named, view: View | None) -> Teacher:
    """A network that is given, ready to teach; a view of its own comes first."""
    return Teacher(freeze(named.network), named.name, named.view or view, named.source)


def joined(parts: Sequence[History], place: Path, what: str) -> History:
    """Trainings that followed each other as one, written to ``place`` as a single training writes itself.

    The best epoch and its weights are those of the last training.
    """
    last, whole = parts[-1], History(samples=sum(part.samples for part in parts))
    for part in parts:
        for counts, more in ((whole.forwards, part.forwards), (whole.backwards, part.backwards)):
            counts |= {name: counts.get(name, 0) + samples for name, samples in more.items()}
    epochs, steps, seconds = 0, 0, 0.0
    for number, part in enumerate(parts, start=1):
        if part is last and part.best_epoch is not None:
            whole.best_epoch, whole.best_value = part.best_epoch + epochs, part.best_value
        whole.records += [
            {
                **record,
                what: number,
                "epoch": record["epoch"] + epochs,
                "step": record["step"] + steps,
                "progress": (number - 1 + record["progress"]) / len(parts),
                "seconds": record["seconds"] + seconds,
            }
            for record in part.records
        ]
        end = whole.records[-1]
        epochs, steps, seconds = end["epoch"], end["step"], end["seconds"]
    whole.best_node, whole.best_weights = last.best_node, last.best_weights
    write_text(place / "metrics.jsonl", in_lines(whole.records))
    write_text(place / "history.csv", whole.to_csv())
    return whole


def known(row: dict[str, Any], select: str) -> dict[str, Any]:
    """A row without its last weights where each training ends with its best ones: the last were not measured."""
    return (
        row if select == "last" else {**row, **{name: {"best": row[name]["best"]} for name in ("validation", "test")}}
    )
