"""``mentorch amalgamate``."""

import copy
import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentorch import losses, zoo
from mentorch._files import read_json, write_atomic, write_json
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _training
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._run import Session
from mentorch.cli._specialists import (
    Specialist,
    data_sets,
    hashes,
    joint_data,
    joint_space,
    own_samples,
    planned,
    temperatures,
    trained,
)
from mentorch.cli._terminal import show_table
from mentorch.comparison import Method, compare, latency, outputs, summarise
from mentorch.data import Dataset, LabelSpace, Split
from mentorch.methods import JointEnsemble, accuracy_by_task, amalgamate, common_space, supervise
from mentorch.networks import cost
from mentorch.reports import tasks_table
from mentorch.training import evaluating


def run(recipe: AmalgamateRecipe, session: Session) -> None:
    """Amalgamate with each method, beside all baselines."""
    sets = data_sets(recipe, recipe.data)
    teachers = planned(recipe, sets)
    space = joint_space(recipe, teachers)
    data = joint_data(recipe, sets, space)
    student = functools.partial(_networks.make, recipe.student, data, new_head=True)
    job = _Job(recipe, session, space, data, _training.view(recipe, data), student(), {})
    session.tell(job.rehearse(teachers))
    if session.dry_run:
        return
    with session.hold():
        ready = {name: trained(name, teacher, recipe, session) for name, teacher in teachers.items()}
        job = dataclasses.replace(job, data=data.to(_training.device(recipe)))
        results = job.carry_out(ready)
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
    drawn: dict[str, Graph]

    def rehearse(self, teachers: Mapping[str, Specialist]) -> str:
        """What a run will do; every graph is tried on a few images.

        Raises:
            UsageError: for anything that would fail later.
        """
        batch = _training.example(self.data)
        splits = {"training": self.data.train, "validation": self.data.validation, "test": self.data.test}
        lines = [f"{self.data.name}: {', '.join(f'{len(split)} {name}' for name, split in splits.items())} images"]
        for name, teacher in teachers.items():
            begins = f" from {teacher.made.source}" if teacher.made is not None and teacher.made.source else ""
            state = "given" if teacher.source else f"to be trained{begins}"
            lines.append(f"{name}: {teacher.name}, {state}, {len(teacher.classes)} classes")
        begins = f" from {self.named.source}" * bool(self.named.source)
        lines.append(f"student: {self.named.name}{begins}, {len(self.space)} classes")
        copies = {n: dataclasses.replace(t, network=freeze(copy.deepcopy(t.network))) for n, t in teachers.items()}
        for name, method in self.methods(copies, (1.0,) * len(teachers)).items():
            lines.append(f"\n{name}\n{method.draw(copy.deepcopy(self.named.network)).build(*batch)}")
        self.drawn.clear()
        return "\n".join(lines)

    def kd(self, calibration: tuple[float, ...]) -> functools.partial[losses.Concatenated]:
        """The loss of the logits."""
        return functools.partial(
            losses.Concatenated,
            target=self.recipe.target,
            temperature=self.recipe.temperature,
            calibration=calibration if self.recipe.calibrate else None,
        )

    def methods(self, teachers: Mapping[str, Specialist], calibration: tuple[float, ...]) -> dict[str, Method]:
        """The methods of the recipe, ready to draw."""
        own: dict[str, Any] = {
            "cfl": functools.partial(
                losses.CommonFeatures, variant=self.recipe.variant, bandwidths=self.recipe.bandwidths
            ),
            "layerwise": losses.Layerwise,
        }
        views = {name: teacher.view for name, teacher in teachers.items()} | {"student": self.view}

        def draw(name: str, student: nn.Module) -> Graph:
            if name == "scratch":
                return supervise(student, view=self.view)
            features = [own[name]] if name in own else []
            if name in self.recipe.weight:
                features = [(own[name], self.recipe.weight[name])]
            graph = amalgamate(
                {name: teacher.network for name, teacher in teachers.items()},
                student,
                *features,
                space=self.space,
                kd=self.kd(calibration),
                views={name: view for name, view in views.items() if view is not None},
                example=_training.example(self.data),
            )
            self.drawn[name] = graph
            return graph

        return {name: Method(functools.partial(draw, name)) for name in self.recipe.methods}

    def carry_out(self, teachers: Mapping[str, Specialist]) -> dict[str, Any]:
        """Train and measure everything; the content of ``results.json``."""
        recipe, data, folder = self.recipe, self.data, self.session.folder
        calibration = temperatures(teachers, self.space, data) if recipe.calibrate else (1.0,) * len(teachers)
        if recipe.calibrate:
            told = ", ".join(f"{name} {value:.3g}" for name, value in zip(teachers, calibration, strict=True))
            self.session.tell(f"temperatures: {told}")
        results = compare(
            lambda: _networks.make(recipe.student, data, new_head=True).network,
            self.methods(teachers, calibration),
            data,
            fit=_training.trainer(recipe, data),
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
            save=functools.partial(self.keep, hashes(teachers)),
            on_row=self.session.on_row,
        )
        for row in results["rows"]:
            place = folder / "fits" / row["method"] / f"seed-{row['seed']}" / "tasks.json"
            if "test" in row and place.exists():
                row["test"][recipe.select] |= {f"accuracy, {key}": v for key, v in read_json(place).items()}
            if row.get("model") and not (folder / row["model"] / "card.json").exists():
                row["model"] = None
        results["summary"] = summarise(results["rows"])
        results |= self.baselines(teachers, calibration) | {"label_space": self.space.describe()}
        write_json(folder / "results.json", results)
        return results

    def keep(self, parents: tuple[str, ...], network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        """Measure a finished student by task, and keep it, the layers that it learned with, and its common space."""
        test, method, seed = self.data.test, row["method"], row["seed"]
        place = self.session.folder / "fits" / method / f"seed-{seed}"
        logits, _ = outputs(network, test, view=self.view, batch_size=self.recipe.eval_batch_size)
        write_json(place / "tasks.json", accuracy_by_task(self.space, logits, test.labels))
        graph = self.drawn.get(method)
        if graph is not None and any(True for _ in graph.owned.parameters()):
            _write_tensors(place / "blocks.safetensors", graph.owned.state_dict())
        if graph is not None and method == "cfl" and self.recipe.pictures:
            self.keep_spaces(graph, f"{method}-seed-{seed}")
        if self.recipe.save_students == "none":
            return
        training = {key: row[key] for key in ("method", "seed", "epochs", "best_epoch", "trained_samples")}
        training["outputs"] = self.space.describe()
        metrics = {"validation": row["validation"], "test": row["test"]}
        name = f"{self.session.folder.name}/{folder.name}"
        card = _networks.card(name, self.named, self.data, self.view, metrics=metrics, training=training)
        zoo.save(network, folder, dataclasses.replace(card, parents=parents if method != "scratch" else ()))

    def keep_spaces(self, graph: Graph, name: str) -> None:
        """Where all networks put some test images, for the report."""
        test = _spread(self.data.test, self.recipe.pictures)
        with evaluating(graph):
            spaces = common_space(graph, test.images.float() / 255)
        tensors = {f"features.{node}": x for node, x in spaces.features.items()}
        tensors |= {f"common.{node}": x for node, x in spaces.common.items()} | {"labels": test.labels}
        told = {"classes": json.dumps(self.space.names), "name": name}
        _write_tensors(self.session.folder / "spaces" / f"{name}.safetensors", tensors, told)

    def baselines(self, teachers: Mapping[str, Specialist], calibration: tuple[float, ...]) -> dict[str, Any]:
        """Each teacher on its own task, and all of them together."""
        example, test = self.data.train.images[:1].float() / 255, self.data.test
        found: dict[str, Any] = {"teachers": {}, "ensemble": {}}
        for name, teacher in teachers.items():
            own = own_samples(self.space, name, test)
            accuracy = None
            if len(own):
                logits, _ = outputs(teacher.network, own, view=teacher.view, batch_size=self.recipe.eval_batch_size)
                placed, labels = self.space.placed(name, logits), self.space.to_joint(name, own.labels)
                accuracy = accuracy_by_task(self.space, placed, labels)[name]
            seen = example if teacher.view is None else teacher.view(example)
            size = cost(teacher.network, seen)
            found["teachers"][name] = {
                "network": teacher.name,
                "source": teacher.source,
                "classes": len(teacher.classes),
                **dataclasses.asdict(size),
                "test": {"accuracy": accuracy, "images": len(own)},
            }
        networks = {name: teacher.network for name, teacher in teachers.items()}
        views = {name: teacher.view for name, teacher in teachers.items() if teacher.view is not None}
        together = JointEnsemble(networks, self.space, kd=self.kd(calibration), views=views).to(example.device)
        logits, _ = outputs(together, test, batch_size=self.recipe.eval_batch_size)
        found["ensemble"] = {
            **dataclasses.asdict(cost(together, example)),
            "latency": latency(together, example),
            "test": {f"accuracy, {key}": v for key, v in accuracy_by_task(self.space, logits, test.labels).items()},
        }
        return found


def _spread(split: Split, count: int) -> Split:
    """About so many samples, equally many of each class."""
    classes = int(split.labels.max()) + 1
    each = max(1, count // classes)
    rows = [(split.labels == k).nonzero()[:each, 0] for k in range(classes)]
    return split.select(torch.cat(rows))


def _write_tensors(path: Path, tensors: Mapping[str, Any], told: dict[str, str] | None = None) -> None:
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, lambda place: save_file(own, place, metadata=told))
