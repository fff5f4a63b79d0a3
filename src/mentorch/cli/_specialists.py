"""The teachers of an amalgamation, the classes that they know together, and data for these."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from mentorch import methods, zoo
from mentorch._errors import UsageError
from mentorch._freeze import freeze
from mentorch._graph import View
from mentorch.cli import _networks, _training
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._run import Session
from mentorch.comparison import measure, outputs, training_batches
from mentorch.data import Batches, Dataset, LabelSpace, Normalize, Resize, Split, join, unlabelled
from mentorch.methods import supervise
from mentorch.networks import state_hash

SEED = 0
UNLABELLED = "images"  # what images:PATH begins with


@dataclass(frozen=True)
class Specialist:
    """A teacher with classes of its own.

    Attributes:
        network: given, or with random weights and yet to be trained.
        name: of the network, for tables.
        classes: names of its outputs.
        view: what it sees of the inputs.
        source: the folder it is from; empty while it is to be trained.
        data: what it is to be trained on.
        made: how it is made.
    """

    network: nn.Module
    name: str
    classes: tuple[str, ...]
    view: View | None
    made: _networks.Named
    source: str = ""
    data: Dataset | None = None


def data_sets(recipe: AmalgamateRecipe, names: str) -> dict[str, Dataset]:
    """The data sets of ``A+B``."""
    parts = names.split("+")
    if len(set(parts)) < len(parts):
        raise UsageError(f"a data set is there twice in {names!r}")
    return {name: _data_set(recipe, name) for name in parts}


def _data_set(recipe: AmalgamateRecipe, name: str) -> Dataset:
    kind, _, path = name.partition(":")
    if kind == UNLABELLED:
        if recipe.test is None:
            raise UsageError(f"{name} has no labels: name labelled data that validates and tests with --test")
        return unlabelled(path, image_size=recipe.image_size, train_size=recipe.train_size)
    size = recipe.image_size if kind == "folder" else None
    return _training.dataset(recipe.model_copy(update={"data": name, "image_size": size}), recipe.train_size)


def planned(recipe: AmalgamateRecipe, sets: Mapping[str, Dataset]) -> dict[str, Specialist]:
    """The teachers that are asked for, by node name.

    Raises:
        UsageError: for a teacher whose classes are unknown, other channels, or one to be trained on no data set.
    """
    found: dict[str, Specialist] = {}
    for i, text in enumerate(recipe.teachers):
        name, source = _named(text, i)
        if name in found:
            raise UsageError(f"two teachers are called {name!r}")
        found[name] = _given(source, sets) if Path(source).is_dir() else _to_train(recipe, name, source, i, sets)
    return found


def _named(text: str, number: int) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    return (name, source) if equals and name.isidentifier() else (f"teacher{number + 1}", text)


def _given(folder: str, sets: Mapping[str, Dataset]) -> Specialist:
    network, card = zoo.load(folder)
    if not card.classes:
        raise UsageError(f"{folder} does not say what its classes are: write them into its card")
    shown = next(iter(sets.values()))
    channels = card.arguments.get("in_channels", 3)
    if channels != shown.channels:
        raise UsageError(f"{folder} reads images of {channels} channels, those of {shown.name!r} have {shown.channels}")
    views: list[nn.Module] = []
    if card.input is not None:
        if card.input.size != tuple(shown.train.images.shape[2:]):
            views.append(Resize(card.input.size))
        views.append(Normalize(card.input.mean, card.input.std))
    view = nn.Sequential(*views) if len(views) > 1 else next(iter(views), None)
    made = _networks.Named(network, card.network, card.arguments, source=folder, card=card)
    return Specialist(network, card.network, card.classes, view, made, source=folder)


def _to_train(
    recipe: AmalgamateRecipe, name: str, network: str, number: int, sets: Mapping[str, Dataset]
) -> Specialist:
    if len(sets) != len(recipe.teachers):
        raise UsageError(
            f"teacher {name} ({network}) is to be trained: --data names one data set for each of the "
            f"{len(recipe.teachers)} teachers, joined by +, not {len(sets)}"
        )
    data = list(sets.values())[number]
    if not data.classes:
        raise UsageError(f"teacher {name} ({network}) is to be trained, and {data.name} has no labels")
    torch.manual_seed(SEED)
    made = _networks.make(network, data, new_head=True)
    return Specialist(made.network, made.name, data.classes, _training.view(recipe, data), made, data=data)


def trained(name: str, teacher: Specialist, recipe: AmalgamateRecipe, session: Session) -> Specialist:
    """A teacher ready to teach: one that is yet to be trained is, and kept with its card."""
    device = _training.device(recipe)
    if teacher.data is None:
        return replace(teacher, network=freeze(teacher.network).to(device), view=_on(teacher.view, device))
    folder = session.folder / "nodes" / name
    if session.resume and (folder / "card.json").exists():
        network, _ = zoo.load(folder)
        return replace(teacher, network=freeze(network).to(device), view=_on(teacher.view, device), source=str(folder))
    data, view = teacher.data.to(device), _on(teacher.view, device)
    session.tell(f"training {name} {teacher.name} on {len(data.train)} images of {data.name}")
    history = _training.trainer(recipe, data, epochs=recipe.teacher_epochs)(
        supervise(teacher.network, view=view),
        training_batches(data.train, recipe.batch_size, augment=_training.augmentation(recipe, data), seed=SEED),
        validation=Batches(data.validation, recipe.eval_batch_size),
        run=session.folder / "fits" / name / f"seed-{SEED}",
        resume=session.resume,
        select=recipe.select,
    )
    found = {"validation": measure(teacher.network, data.validation, view=view, batch_size=recipe.eval_batch_size)}
    session.tell(f"{name}: validation {found['validation']['accuracy']:.2%}  ({len(history.records)} epochs)")
    training = {"epochs": len(history.records), "seed": SEED, "images": len(data.train)}
    card = _networks.card(f"{session.folder.name}/{name}", teacher.made, data, view, metrics=found, training=training)
    zoo.save(teacher.network, folder, card)
    return replace(teacher, network=freeze(teacher.network), view=view, source=str(folder))


def _on(view: View | None, device: torch.device) -> View | None:
    return view.to(device) if isinstance(view, nn.Module) else view


def joint_space(recipe: AmalgamateRecipe, teachers: Mapping[str, Specialist]) -> LabelSpace:
    """The classes that the teachers know together, or those of them that were asked for."""
    space = LabelSpace.union({name: teacher.classes for name, teacher in teachers.items()})
    return space.only(recipe.classes) if recipe.classes else space


def joint_data(recipe: AmalgamateRecipe, sets: Mapping[str, Dataset], space: LabelSpace) -> Dataset:
    """All images of all data sets, with joint labels where these count.

    Raises:
        UsageError: if images differ in shape, or nobody knows what they show.
    """
    labelled = data_sets(recipe, recipe.test) if recipe.test is not None else sets
    if blind := [name for name, data in labelled.items() if not data.classes]:
        raise UsageError(f"{blind[0]} has no labels to test with")
    places = {name: k for k, name in enumerate(space.names)}
    parts = {name: tuple(places.get(c, -1) for c in data.classes) for name, data in labelled.items()}
    if not any(k >= 0 for classes in parts.values() for k in classes):
        raise UsageError(
            f"no class of {', '.join(labelled)} is one of the teachers' ({', '.join(space.names[:5])}, ...): "
            "name labelled data with --test"
        )
    joined = join(labelled, LabelSpace(space.names, parts))
    if recipe.test is None:
        return joined
    pools = [data.train for data in sets.values()]
    shapes = {tuple(split.images.shape[1:]) for split in (joined.test, *pools)}
    if len(shapes) > 1:
        raise UsageError(f"the images of --data and --test differ in shape: {', '.join(map(str, sorted(shapes)))}")
    images = torch.cat([split.images for split in pools])
    count = torch.arange(len(images))
    return Dataset.of(
        recipe.data,
        train=Split(images, torch.zeros_like(count), count),  # labels that nobody reads
        validation=joined.validation,
        test=joined.test,
        classes=space.names,
        note="; ".join(
            filter(None, (joined.note, f"training images without labels; validation and test {recipe.test}"))
        ),
        mirror=all(data.mirror for data in sets.values()),
    )


def own_samples(space: LabelSpace, part: str, split: Split) -> Split:
    """The samples of a split whose class a teacher knows, in its own numbering."""
    own = space.to_own(part, split.labels)
    rows = (own >= 0).nonzero()[:, 0]
    return replace(split.select(rows), labels=own[rows])


def temperatures(teachers: Mapping[str, Specialist], space: LabelSpace, data: Dataset) -> tuple[float, ...]:
    """Each teacher's temperature on validation images of its own classes.

    Raises:
        UsageError: for a teacher that has none there.
    """
    found = []
    for name, teacher in teachers.items():
        held = own_samples(space, name, data.validation)
        if not len(held):
            raise UsageError(f"{name} cannot be calibrated: no validation image is of one of its classes")
        logits, _ = outputs(teacher.network, held, view=teacher.view)
        found.append(methods.calibrate(logits, held.labels))
    return tuple(found)


def hashes(teachers: Mapping[str, Specialist]) -> tuple[str, ...]:
    """What a student's card names as its parents."""
    return tuple(state_hash(teacher.network) for teacher in teachers.values())
