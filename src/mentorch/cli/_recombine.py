"""Recombination among the methods of ``mentorch amalgamate``."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch._files import read_sealed, write_sealed
from mentorch._freeze import is_frozen
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _training
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._run import Session
from mentorch.cli._specialists import Specialist
from mentorch.cli._turns import joined, seen
from mentorch.data import Dataset, LabelSpace
from mentorch.methods import Round, amalgamate, recombine
from mentorch.networks import cost
from mentorch.structure import recipe_between
from mentorch.training import History

NAME = "recombine"
_ROUNDS = "rounds.json"


@dataclasses.dataclass(frozen=True)
class Recombination:
    """The teachers side by side, pruned and taught in rounds.

    Attributes:
        recipe: what was asked for.
        session: its run folder.
        space: the joint classes.
        data: what all of them are shown.
        teachers: of one architecture, and with one view.
        kd: the loss of the logits.
    """

    recipe: AmalgamateRecipe
    session: Session
    space: LabelSpace
    data: Dataset
    teachers: Mapping[str, Specialist]
    kd: Callable[..., nn.Module]

    @property
    def view(self) -> View | None:
        """What all of them see.

        Raises:
            UsageError: for teachers that see images in different ways.
        """
        images = _training.example(self.data).inputs
        views = {name: teacher.view for name, teacher in self.teachers.items()}
        (first, shown), *others = ((name, seen(view, images)) for name, view in views.items())
        for name, other in others:
            if other.shape != shown.shape or not torch.equal(other, shown):
                raise UsageError(
                    f"{NAME} puts the teachers side by side on one input, and {first!r} and {name!r} see it in "
                    "different sizes or normalisations: train them with one, or leave it out"
                )
        return next(iter(views.values()))

    def draw(self, _: nn.Module) -> Graph:
        """All teachers as one network, and how it learns."""
        if self.recipe.classes or len(self.space) < sum(len(teacher.classes) for teacher in self.teachers.values()):
            raise UsageError(f"{NAME} keeps all classes of all teachers: none may be left out or shared by two")
        merged = next(self._rounds(History, [(_training.example(self.data).inputs,)]))
        views = {} if self.view is None else dict.fromkeys(("student", *self.teachers), self.view)
        return amalgamate(self._networks, merged.network, space=self.space, kd=self.kd, views=views)

    def fit(self, graph: Graph, train: Any, *, run: Path, resume: bool, **options: Any) -> History:
        """Train round by round; in all as many epochs as any other method."""
        epochs = max(1, self.recipe.epochs // self.recipe.rounds)
        short = functools.partial(_training.trainer(self.recipe, self.data, epochs=epochs), **options)
        example = seen(self.view, _training.example(self.data).inputs[:1])
        histories, macs, told = [], 0, []
        for step in self._rounds(short, train, run=run, resume=resume):
            told.append({"round": step.number, "parameters": step.parameters})
            self.session.tell(f"{NAME}, {run.name}, round {step.number}: {step.parameters:,} parameters")
            if step.graph is not None and step.history is not None:
                histories.append(step.history)
                each = (cost(net, example).macs * (1 if is_frozen(net) else 3) for net in step.graph.nodes.values())
                macs += step.history.samples * sum(each)
        size = dataclasses.asdict(cost(step.network, example))
        write_sealed(run / _ROUNDS, {"macs": macs, "rounds": told, "size": size})
        graph.nodes["student"] = step.network  # what is measured and kept
        return joined(histories, run, "round")

    def card(self, card: zoo.Card, network: nn.Module) -> zoo.Card:
        """The card of a student, corrected for one that began as all teachers."""
        made = next(iter(self.teachers.values())).made
        arguments = {**made.arguments, "num_classes": len(self.space)}
        whole = _networks.fresh(_networks.Named(network, made.name, arguments))
        return dataclasses.replace(
            card,
            network=made.name,
            arguments=arguments,
            input=card.input if made.card is None else made.card.input,
            structure=(recipe_between(whole, network),),
        )

    def _rounds(self, fit: Callable[..., History], train: Any, **folder: Any) -> Iterator[Round]:
        return recombine(
            self._networks,
            train,
            fit,
            space=self.space,
            keep=self.recipe.keep,
            rounds=self.recipe.rounds,
            kd=self.kd,
            view=self.view,
            **folder,
        )

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {name: teacher.network for name, teacher in self.teachers.items()}


def with_rounds(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A row of ``results.json`` with what all rounds cost, and what the network that is left costs."""
    place = folder / "fits" / row["method"] / f"seed-{row['seed']}" / _ROUNDS
    if row["method"] != NAME or "error" in row or not place.exists():
        return row
    told = read_sealed(place)
    return {**row, "macs": told["macs"], "size": told["size"]}
