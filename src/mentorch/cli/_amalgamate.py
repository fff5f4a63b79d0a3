"""``mentorch amalgamate``."""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import nn

from mentorch import losses, zoo
from mentorch._files import read_sealed, write_json, write_sealed
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _training
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._baselines import baselines, keep_spaces, write_tensors
from mentorch.cli._choose import able, check_choice, chosen, those_of
from mentorch.cli._recombine import NAME, Recombination, with_rounds
from mentorch.cli._run import Session
from mentorch.cli._specialists import (
    Specialist,
    data_sets,
    hashes,
    joint_data,
    joint_space,
    planned,
    temperatures,
    trained,
)
from mentorch.cli._terminal import show_table
from mentorch.comparison import Method, compare, outputs, summarise
from mentorch.data import Dataset, LabelSpace
from mentorch.methods import accuracy_by_task, amalgamate, supervise
from mentorch.reports import tasks_table
from mentorch.training import History


def run(recipe: AmalgamateRecipe, session: Session) -> None:
    """Amalgamate with each method, beside all baselines."""
    sets = data_sets(recipe, recipe.data)
    teachers = planned(recipe, sets)
    space = joint_space(recipe, teachers)
    data = joint_data(recipe, sets, space)
    teachers, space = able(teachers, space, session)
    check_choice(recipe, teachers, space)
    view = _training.view(recipe, data)
    if NAME in recipe.methods:  # they are to stand on one input: those that are trained here see it alike
        teachers = {name: t if t.data is None else dataclasses.replace(t, view=view) for name, t in teachers.items()}
    named = _networks.make(recipe.student, data, new_head=True)
    job = _Job(recipe, session, space, data, view, named, teachers)
    session.tell(job.rehearse())
    if session.dry_run:
        return
    with session.hold():
        results = job.ready().carry_out()
        session.finish(results)
        if not session.as_json:
            show_table(tasks_table(results), title=f"{session.folder.name}: all tasks, and each if it is known")


@dataclasses.dataclass(frozen=True)
class _Job:
    """One amalgamation: what it is about, and the graph that each method drew last."""

    recipe: AmalgamateRecipe
    session: Session
    space: LabelSpace
    data: Dataset
    view: View | None
    named: _networks.Named
    teachers: Mapping[str, Specialist]
    calibration: tuple[float, ...] | None = None
    useful: Mapping[str, float] = dataclasses.field(default_factory=dict)
    drawn: dict[str, Graph] = dataclasses.field(default_factory=dict)

    def rehearse(self) -> str:
        """What a run will do; every graph is tried on a few images.

        Raises:
            UsageError: for anything that would fail later.
        """
        batch = _training.example(self.data)
        splits = {"training": self.data.train, "validation": self.data.validation, "test": self.data.test}
        lines = [f"{self.data.name}: {', '.join(f'{len(split)} {name}' for name, split in splits.items())} images"]
        for name, teacher in self.teachers.items():
            begins = f" from {teacher.made.source}" * bool(teacher.made.source)
            state = "given" if teacher.data is None else f"to be trained{begins}"
            lines.append(f"{name}: {teacher.name}, {state}, {len(teacher.classes)} classes")
        begins = f" from {self.named.source}" * bool(self.named.source)
        lines.append(f"student: {self.named.name}{begins}, {len(self.space)} classes")
        copies = {n: dataclasses.replace(t, network=freeze(copy.deepcopy(t.network))) for n, t in self.teachers.items()}
        for name, method in dataclasses.replace(self, teachers=copies).methods().items():
            lines.append(f"\n{name}\n{method.draw(copy.deepcopy(self.named.network)).build(*batch)}")
        self.drawn.clear()
        return "\n".join(lines)

    def ready(self) -> Self:
        """With teachers that have learned, those that are worth it, and their temperatures."""
        recipe, space, session = self.recipe, self.space, self.session
        teachers = {name: trained(name, teacher, recipe, session) for name, teacher in self.teachers.items()}
        data = self.data.to(_training.device(recipe))
        useful = chosen(recipe, teachers, space, data) if recipe.keep_teachers is not None else {}
        if useful:
            session.tell(f"kept of {len(teachers)} teachers by {recipe.usefulness}: {_listed(useful)}")
            teachers, space = those_of(useful, teachers, space)
        calibration = temperatures(teachers, space, data) if recipe.calibrate else None
        if calibration is not None:
            session.tell(f"temperatures: {_listed(dict(zip(teachers, calibration, strict=True)))}")
        return dataclasses.replace(
            self, space=space, data=data, teachers=teachers, calibration=calibration, useful=useful
        )

    @property
    def kd(self) -> functools.partial[losses.Concatenated]:
        """The loss of the logits."""
        return functools.partial(
            losses.Concatenated,
            target=self.recipe.target,
            temperature=self.recipe.temperature,
            calibration=self.calibration,
        )

    @functools.cached_property
    def recombination(self) -> Recombination:
        """The teachers side by side."""
        return Recombination(self.recipe, self.session, self.space, self.data, self.teachers, self.kd)

    def methods(self) -> dict[str, Method]:
        """The methods of the recipe, ready to draw."""
        found = {name: Method(functools.partial(self.draw, name)) for name in self.recipe.methods}
        if NAME in found:
            found[NAME] = Method(self.recombination.draw, view=self.recombination.view)
        return found

    def draw(self, name: str, student: nn.Module) -> Graph:
        """The graph of a method in which the student learns."""
        if name == "scratch":
            return supervise(student, view=self.view)
        recipe = self.recipe
        own: dict[str, Any] = {
            "cfl": functools.partial(losses.CommonFeatures, variant=recipe.variant, bandwidths=recipe.bandwidths),
            "layerwise": losses.Layerwise,
        }
        features = [own[name]] if name in own else []
        if name in recipe.weight:
            features = [(own[name], recipe.weight[name])]
        views = {name: teacher.view for name, teacher in self.teachers.items()} | {"student": self.view}
        graph = amalgamate(
            {name: teacher.network for name, teacher in self.teachers.items()},
            student,
            *features,
            space=self.space,
            kd=self.kd,
            views={name: view for name, view in views.items() if view is not None},
            example=_training.example(self.data),
        )
        self.drawn[name] = graph
        return graph

    def fit(self, graph: Graph, train: Any, *, run: Path, resume: bool, **options: Any) -> History:
        """What ``compare`` calls: recombination is trained in rounds, any other method in one go."""
        fit = self.recombination.fit if run.parent.name == NAME else _training.trainer(self.recipe, self.data)
        return fit(graph, train, run=run, resume=resume, **options)

    def carry_out(self) -> dict[str, Any]:
        """Train and measure everything; the content of ``results.json``."""
        recipe, data, folder = self.recipe, self.data, self.session.folder
        results = compare(
            lambda: _networks.make(recipe.student, data, new_head=True).network,
            self.methods(),
            data,
            fit=self.fit,
            run=folder,
            seeds=recipe.seeds,
            view=self.view,
            augment=_training.augmentation(recipe, data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=0 if recipe.test is not None else recipe.knn,
            retrieval=recipe.retrieval,
            student_name=self.named.name,
            kind="amalgamate",
            resume=self.session.resume,
            save=self.keep,
            on_row=self.session.on_row,
        )
        results["rows"] = [self.completed(row) for row in results["rows"]]
        results["summary"] = summarise(results["rows"])
        results |= baselines(recipe, self.teachers, self.space, data, self.kd)
        results |= {"label_space": self.space.describe(), "usefulness": dict(self.useful)}
        write_json(folder / "results.json", results)
        return results

    def completed(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the accuracy of each task, and with what recombination cost."""
        folder = self.session.folder
        place = folder / "fits" / row["method"] / f"seed-{row['seed']}" / "tasks.json"
        if "test" in row and place.exists():
            row["test"][self.recipe.select] |= {f"accuracy, {key}": v for key, v in read_sealed(place).items()}
        if row.get("model") and not (folder / row["model"] / "card.json").exists():
            row["model"] = None
        return with_rounds(row, folder)

    def keep(self, network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        """Measure a finished student by task, and keep it, the layers that it learned with, and its common space."""
        test, method, seed = self.data.test, row["method"], row["seed"]
        place = self.session.folder / "fits" / method / f"seed-{seed}"
        view = self.recombination.view if method == NAME else self.view
        logits, _ = outputs(network, test, view=view, batch_size=self.recipe.eval_batch_size)
        write_sealed(place / "tasks.json", accuracy_by_task(self.space, logits, test.labels))
        graph = self.drawn.get(method)
        if graph is not None and any(True for _ in graph.owned.parameters()):
            write_tensors(place / "blocks.safetensors", graph.owned.state_dict())
        if graph is not None and method == "cfl" and self.recipe.pictures:
            file = self.session.folder / "spaces" / f"{method}-seed-{seed}.safetensors"
            keep_spaces(graph, self.data.test, self.recipe.pictures, self.space.names, file)
        if self.recipe.save_students != "none":
            zoo.save(network, folder, self.card(network, folder, row))

    def card(self, network: nn.Module, folder: Path, row: Mapping[str, Any]) -> zoo.Card:
        """What a student is, and which of its outputs is which class of which teacher."""
        training = {key: row[key] for key in ("method", "seed", "epochs", "best_epoch", "trained_samples")}
        training["outputs"] = self.space.describe()
        metrics = {"validation": row["validation"], "test": row["test"]}
        name = f"{self.session.folder.name}/{folder.name}"
        graph = row.get("graph")
        card = _networks.card(name, self.named, self.data, self.view, metrics=metrics, training=training, graph=graph)
        if row["method"] == NAME:
            card = self.recombination.card(card, network)
        return dataclasses.replace(card, parents=hashes(self.teachers) if row["method"] != "scratch" else ())


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
