"""``mentorch compare`` and ``mentorch distill``."""

import copy
import dataclasses
import functools
import json
from collections.abc import Mapping

import torch
import typer
from torch import nn

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch._freeze import freeze
from mentorch._graph import View
from mentorch.cli import _methods, _networks, _training
from mentorch.cli._experiment import carry_out
from mentorch.cli._run import Session
from mentorch.cli._transfer import TransferRecipe
from mentorch.comparison import Teacher, measure, training_batches
from mentorch.data import Batches, Dataset
from mentorch.methods import supervise
from mentorch.networks import Taps, cost, taps
from mentorch.training import TeacherCache

TEACHER_SEED = 0


def run(recipe: TransferRecipe, session: Session) -> None:
    """Carry out a comparison; of one method it is a distillation."""
    data = _training.dataset(recipe, recipe.train_size)
    student = functools.partial(_networks.make, recipe.student, data, recipe.student_weights)
    named = student()
    view = _training.view(recipe, data) if named.card is None else named.view
    planned = _planned(recipe, data)
    places = _methods.places(recipe.tap, {name: each.network for name, each in {**planned, "student": named}.items()})
    fit = _training.trainer(recipe, data, node="*" if recipe.sub_teachers == "winner" else "")
    description = _rehearse(recipe, data, named, planned, view, places)
    if session.dry_run:
        session.tell(f"{description}\n\n{len(recipe.asked)} methods x {len(recipe.seeds)} seeds into {session.folder}")
        if session.as_json:
            typer.echo(json.dumps(recipe.to_plain(), indent=2))
        return
    with session.hold():
        teachers = {name: _teacher(name, found, recipe, data, session) for name, found in planned.items()}
        for name, teacher in teachers.items():
            if recipe.teacher_precision == "bf16":
                freeze(teacher.network, precision=torch.bfloat16)
            _check_teacher(name, teacher, recipe, data, session)
        alone = next(iter(teachers.items())) if len(teachers) == 1 else None
        if recipe.cache != "off":
            fit = functools.partial(fit, cache=_cache(recipe, session, teachers, places))
        carry_out(
            recipe,
            session,
            data,
            _methods.make(recipe, teachers, view, places, data.to(_training.device(recipe))),
            student=student,
            fit=fit,
            view=view,
            teacher=dataclasses.replace(alone[1], places=places.get(alone[0])) if alone else None,
            places=places.get("student"),
            views=recipe.views,
        )


def _cache(
    recipe: TransferRecipe, session: Session, teachers: Mapping[str, Teacher], places: Mapping[str, Taps]
) -> TeacherCache:
    """Where the teachers' answers are kept: in the run folder, for all methods and seeds."""
    addresses = None
    if recipe.cache == "embedding":
        found = {name: places.get(name) or taps(teacher.network) for name, teacher in teachers.items()}
        addresses = [text for name, its in found.items() for text in (name, f"{name}.{its.embedding}")]
    return TeacherCache(session.folder / "cache", addresses=addresses)


def _planned(recipe: TransferRecipe, data: Dataset) -> dict[str, _networks.Named]:
    """The teachers that are asked for, by node name; those without a source are yet to be trained.

    Raises:
        UsageError: for an option that is about other teachers than these.
    """
    if not _methods.needs_teacher(recipe.asked):
        return {}
    several = len(recipe.teacher) > 1
    found = {f"teacher{i}" if several else "teacher": _networks.make(t, data) for i, t in enumerate(recipe.teacher, 1)}
    given = {bool(named.source) for named in found.values()}
    about = {"teacher_epochs": False, "teacher_train_size": False, "teacher_mean": True, "teacher_std": True}
    for option, state in about.items():
        if getattr(recipe, option) is not None and state not in given:
            raise UsageError(f"{option} has no effect: the teacher is {'to be trained' if state else 'given'}")
    seeing = [named.source for named in found.values() if named.view is not None]
    if (recipe.teacher_mean or recipe.teacher_std) and len(seeing) == len(found):
        raise UsageError(f"teacher_mean and teacher_std have no effect: the card of {seeing[0]} has its own")
    return found


def _teacher(name: str, planned: _networks.Named, recipe: TransferRecipe, data: Dataset, session: Session) -> Teacher:
    """A teacher that is given, or one that is trained now and kept."""
    if not planned.source:
        return _trained(name, planned.name, recipe, data, session)
    device = _training.device(recipe)
    view = _on(_teacher_view(planned, recipe, data), device)
    return Teacher(freeze(planned.network).to(device), planned.name, view, planned.source)


def _teacher_view(planned: _networks.Named, recipe: TransferRecipe, data: Dataset) -> View | None:
    asked = _networks.normalisation(recipe.teacher_mean, recipe.teacher_std, data) if planned.source else None
    return planned.view or asked or _training.view(recipe, data)


def _on(view: View | None, device: torch.device) -> View | None:
    return view.to(device) if isinstance(view, nn.Module) else view


def _trained(name: str, network: str, recipe: TransferRecipe, data: Dataset, session: Session) -> Teacher:
    folder = session.folder / "nodes" / name
    if recipe.teacher_train_size != recipe.train_size:
        data = _training.dataset(recipe, recipe.teacher_train_size)
    device = _training.device(recipe)
    view = _on(_training.view(recipe, data), device)
    if session.resume and (folder / "card.json").exists():
        kept, _ = zoo.load(folder)
        return Teacher(freeze(kept).to(device), network, view, "trained here")
    session.tell(f"training {name} {network} on {len(data.train)} images of {data.name}")
    torch.manual_seed(TEACHER_SEED)
    named = _networks.make(network, data)
    here = data.to(device)
    augment = _training.augmentation(recipe, data)
    fit = _training.trainer(recipe, data, epochs=recipe.teacher_epochs)
    history = fit(
        supervise(named.network, view=view),
        training_batches(here.train, recipe.batch_size, augment=augment, seed=TEACHER_SEED),
        validation=Batches(here.validation, recipe.eval_batch_size),
        run=session.folder / "fits" / name / f"seed-{TEACHER_SEED}",
        resume=session.resume,
        select=recipe.select,
    )
    found = {"validation": measure(named.network, here.validation, view=view, batch_size=recipe.eval_batch_size)}
    session.tell(f"{name}: validation {found['validation']['accuracy']:.2%}  ({len(history.records)} epochs)")
    training = {"epochs": len(history.records), "seed": TEACHER_SEED, "images": len(data.train)}
    title = f"{session.folder.name}/{name}"
    zoo.save(named.network, folder, _networks.card(title, named, data, view, metrics=found, training=training))
    return Teacher(freeze(named.network), network, view, "trained here")


def _check_teacher(name: str, teacher: Teacher, recipe: TransferRecipe, data: Dataset, session: Session) -> None:
    """A teacher near chance on the student's own data is a teacher with other inputs or other classes."""
    accuracy = measure(
        teacher.network,
        data.validation.to(_training.device(recipe)),
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


def _rehearse(
    recipe: TransferRecipe,
    data: Dataset,
    student: _networks.Named,
    planned: Mapping[str, _networks.Named],
    view: View | None,
    places: Mapping[str, Taps],
) -> str:
    """What a run will do: sizes, costs, and the graph of each method, tried on a few images.

    Raises:
        UsageError: for anything that would fail later, after the teacher was trained.
    """
    batch = _training.example(data)
    sizes = {"training": data.train, "validation": data.validation, "test": data.test}
    lines = [f"{data.name}: {', '.join(f'{len(split)} {name}' for name, split in sizes.items())} images"]
    for name, named in {**planned, "student": student}.items():
        size = cost(named.network, batch.inputs[:1])
        state = "" if name == "student" else " given," if named.source else " to be trained,"
        lines.append(f"{name}: {named.name},{state} {size.parameters:,} parameters, {size.macs:,} multiply-adds")
    teachers = {
        name: Teacher(freeze(copy.deepcopy(named.network)), named.name, _teacher_view(named, recipe, data))
        for name, named in planned.items()
    }
    for name, method in _methods.make(recipe, teachers, view, places, data).items():
        graph = method.draw(copy.deepcopy(student.network)).build(*batch)
        lines.append(f"\n{name}\n{graph}")
    return "\n".join(lines)
