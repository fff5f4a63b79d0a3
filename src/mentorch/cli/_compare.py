"""``mentorch compare``."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from mentorch import zoo
from mentorch._errors import RunError
from mentorch._files import write_json
from mentorch._graph import View, freeze
from mentorch.cli import _methods, _networks, _training
from mentorch.cli._recipe import CompareRecipe, Recipe
from mentorch.cli._run import Session
from mentorch.comparison import Teacher, compare, measure
from mentorch.data import Batches, Dataset
from mentorch.methods import supervise
from mentorch.networks import Taps, cost

TEACHER_SEED = 0


def run(recipe: CompareRecipe, session: Session) -> None:
    """Carry out a comparison."""
    data = _training.dataset(recipe, recipe.train_size)
    student = _networks.make(recipe.student, data, recipe.student_weights)
    if student.card is not None:
        recipe_view: View | None = student.view
    else:
        recipe_view = _training.view(recipe, data)
    needed = _methods.needs_teacher(recipe.methods)
    planned = {_teacher_name(i, recipe): text for i, text in enumerate(recipe.teacher)} if needed else {}
    if session.dry_run:
        _describe(recipe, data, student, planned, session)
        return
    with session.hold():
        teachers = {name: _teacher(name, text, recipe, data, session) for name, text in planned.items()}
        for name, teacher in teachers.items():
            _check_teacher(name, teacher, recipe, data, session)
        places = _methods.places(recipe.tap)
        methods = _methods.make(recipe, teachers, recipe_view, places)
        results = compare(
            lambda: _networks.make(recipe.student, data, recipe.student_weights).network,
            methods,
            data.to(device_of(recipe)),
            fit=_training.trainer(recipe, data, node="*" if recipe.sub_teachers == "winner" else ""),
            run=session.folder,
            teacher=next(iter(teachers.values())) if len(teachers) == 1 else None,
            seeds=recipe.seeds,
            view=recipe_view,
            augment=_training.augmentation(recipe, data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=recipe.knn,
            places=places.get("student"),
            student_name=student.name,
            resume=session.resume,
            save=_keeper(student, data, recipe_view) if recipe.save_students != "none" else None,
            on_row=session.on_row,
        )
        if recipe.save_students == "best":
            _keep_best(session.folder, results)
        session.finish(results)


def _teacher_name(i: int, recipe: CompareRecipe) -> str:
    return "teacher" if len(recipe.teacher) == 1 else f"teacher{i + 1}"


def device_of(recipe: Recipe) -> torch.device:
    if recipe.device != "auto":
        return torch.device(recipe.device if recipe.device != "gpu" else "cuda")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _teacher(name: str, text: str, recipe: CompareRecipe, data: Dataset, session: Session) -> Teacher:
    """A teacher that is given, or one that is trained now and kept."""
    if not _networks.has_weights(text):
        return _trained(name, text, recipe, data, session)
    found = _networks.make(text, data)
    asked = _networks.normalisation(recipe.teacher_mean, recipe.teacher_std, data)
    view = asked or found.view or _training.view(recipe, data)
    return Teacher(freeze(found.network).to(device_of(recipe)), found.name, _on(view, recipe), found.source)


def _on(view: View | None, recipe: CompareRecipe) -> View | None:
    return view.to(device_of(recipe)) if isinstance(view, nn.Module) else view


def _trained(name: str, text: str, recipe: CompareRecipe, data: Dataset, session: Session) -> Teacher:
    folder = session.folder / "nodes" / name
    if recipe.teacher_train_size != recipe.train_size:
        data = _training.dataset(recipe, recipe.teacher_train_size)
    view = _on(_training.view(recipe, data), recipe)
    if session.resume and (folder / "card.json").exists():
        network, _ = zoo.load(folder)
        return Teacher(freeze(network).to(device_of(recipe)), text, view, "trained here")
    session.tell(f"training {name} {text} on {len(data.train)} images of {data.name}")
    torch.manual_seed(TEACHER_SEED)
    named = _networks.make(text, data)
    epochs = recipe.teacher_epochs or recipe.epochs
    here = data.to(device_of(recipe))
    fit = _training.trainer(recipe, data, epochs=epochs)
    history = fit(
        supervise(named.network, view=view),
        Batches(
            here.train, recipe.batch_size, shuffle=True, augment=_training.augmentation(recipe, data), seed=TEACHER_SEED
        ),
        validation=Batches(here.validation, recipe.eval_batch_size),
        run=session.folder / "fits" / name / f"seed-{TEACHER_SEED}",
        resume=session.resume,
        select=recipe.select,
    )
    found = {"validation": measure(named.network, here.validation, view=view, batch_size=recipe.eval_batch_size)}
    session.tell(f"{name}: validation {found['validation']['accuracy']:.2%}  ({len(history.records)} epochs)")
    training = {"epochs": len(history.records), "seed": TEACHER_SEED, "images": len(data.train)}
    card = _networks.card(name, named, data, view, metrics=found, training=training)
    zoo.save(named.network, folder, card)
    return Teacher(freeze(named.network), text, view, "trained here")


def _check_teacher(name: str, teacher: Teacher, recipe: CompareRecipe, data: Dataset, session: Session) -> None:
    """A teacher near chance on the student's own data is a teacher with other inputs or other classes."""
    accuracy = measure(
        teacher.network,
        data.to(device_of(recipe)).validation,
        view=teacher.view,
        batch_size=recipe.eval_batch_size,
    )["accuracy"]
    least = recipe.min_teacher_acc if recipe.min_teacher_acc is not None else min(1.5 / data.num_classes, 0.9)
    if accuracy < least:
        raise RunError(
            f"{name} {teacher.name} is right for {accuracy:.1%} of the validation images of {data.name!r}: "
            "other normalisation (--teacher-mean, --teacher-std) or another order of classes? "
            "--min-teacher-acc 0 goes on anyway"
        )
    if teacher.source != "trained here":
        session.tell(f"{name} {teacher.name}: validation {accuracy:.2%}")


def _keeper(student: _networks.Named, data: Dataset, view: View | None) -> Any:
    def keep(network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        metrics = {"validation": row["validation"], "test": row["test"]}
        training = {key: row[key] for key in ("method", "seed", "epochs", "best_epoch", "trained_samples")}
        zoo.save(network, folder, _networks.card(folder.name, student, data, view, metrics=metrics, training=training))

    return keep


def _keep_best(folder: Path, results: dict[str, Any]) -> None:
    """Of all students keep the one that was best on validation data."""
    rows = [row for row in results["rows"] if row.get("model")]
    if not rows:
        return
    best = max(rows, key=lambda row: row["validation"][results["select"]]["accuracy"])
    for row in rows:
        if row is not best:
            shutil.rmtree(folder / row["model"], ignore_errors=True)
            row["model"] = None
    write_json(folder / "results.json", results)


def _describe(
    recipe: CompareRecipe, data: Dataset, student: _networks.Named, planned: Mapping[str, str], session: Session
) -> None:
    """What a run would do: sizes, costs, and the graph of each method."""
    example = data.train.images[:2].float() / 255
    session.tell(
        f"{data.name}: {len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test images"
    )
    view = _training.view(recipe, data)
    teachers = {}
    for name, text in planned.items():
        found = _networks.make(text, data)
        size = cost(found.network, example[:1])
        state = "given" if _networks.has_weights(text) else "to be trained"
        session.tell(f"{name}: {text}, {state}, {size.parameters:,} parameters, {size.macs:,} multiply-adds")
        teachers[name] = Teacher(freeze(found.network), found.name, view)
    size = cost(student.network, example[:1])
    session.tell(f"student: {student.name}, {size.parameters:,} parameters, {size.macs:,} multiply-adds")
    places: dict[str, Taps] = _methods.places(recipe.tap)
    for name, method in _methods.make(recipe, teachers, view, places).items():
        graph = method.draw(_networks.make(recipe.student, data).network)
        graph.build(example, data.train.labels[:2])
        session.tell(f"\n{name}\n{graph}")
    session.tell(f"\n{len(recipe.methods)} methods x {len(recipe.seeds)} seeds into {session.folder}")
    if session.as_json:
        typer.echo(json.dumps(recipe.to_plain(), indent=2))
