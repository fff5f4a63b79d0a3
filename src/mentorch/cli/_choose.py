"""Which of the teachers are worth it."""

from collections.abc import Iterable, Mapping

import torch

from mentorch import methods, transferability
from mentorch._errors import UsageError, unknown
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._run import Session
from mentorch.cli._specialists import SEED, Specialist
from mentorch.data import Dataset, LabelSpace

_ENOUGH = 500  # images on which they are judged


def able(
    teachers: Mapping[str, Specialist], space: LabelSpace, session: Session
) -> tuple[dict[str, Specialist], LabelSpace]:
    """Without teachers that know none of the classes that are asked for.

    Raises:
        UsageError: if fewer than two are left.
    """
    idle = [name for name in teachers if not len(space.block(name))]
    if len(teachers) - len(idle) < 2:
        raise UsageError(f"only one teacher knows any of {', '.join(space.names[:5])}: amalgamation needs two")
    if idle:
        session.tell(f"left out, they know none of the classes: {', '.join(idle)}")
    return those_of([name for name in teachers if name not in idle], teachers, space)


def those_of(
    names: Iterable[str], teachers: Mapping[str, Specialist], space: LabelSpace
) -> tuple[dict[str, Specialist], LabelSpace]:
    """Some of the teachers, in their order, and the same classes as theirs."""
    kept = {name: teacher for name, teacher in teachers.items() if name in set(names)}
    return kept, LabelSpace(space.names, {name: space.parts[name] for name in kept})


def check_choice(recipe: AmalgamateRecipe, teachers: Mapping[str, Specialist], space: LabelSpace) -> None:
    """Refuse what would fail after the teachers have been trained.

    Raises:
        UsageError: for an unknown score, as many teachers as there are, or fewer than know all classes.
    """
    if recipe.keep_teachers is None:
        return
    known = [name for name, info in transferability.catalogue().items() if info.needs[1:] == ("labels",)]
    if recipe.usefulness not in known:
        raise unknown("score of usefulness", recipe.usefulness, known)
    if not 2 <= recipe.keep_teachers < len(teachers):
        raise UsageError(
            f"keep_teachers: 2 or more, and fewer than the {len(teachers)} that there are, not {recipe.keep_teachers}"
        )
    networks = {name: teacher.network for name, teacher in teachers.items()}
    methods.choose_teachers(networks, lambda name, network: 0.0, space=space, keep=recipe.keep_teachers)


def chosen(
    recipe: AmalgamateRecipe, teachers: Mapping[str, Specialist], space: LabelSpace, data: Dataset
) -> dict[str, float]:
    """The teachers that are kept, with their usefulness on some training images, whose labels are not looked at."""
    train = data.train
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED))[:_ENOUGH]
    networks = {name: teacher.network for name, teacher in teachers.items()}
    score = methods.usefulness(
        transferability.catalogue()[recipe.usefulness].function,
        networks,
        train.images[rows.to(train.images.device)].float() / 255,
        space=space,
        views={name: teacher.view for name, teacher in teachers.items() if teacher.view is not None},
    )
    return methods.choose_teachers(networks, score, space=space, keep=recipe.keep_teachers)
