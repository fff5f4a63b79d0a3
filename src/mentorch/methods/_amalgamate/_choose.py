"""A student for some of the classes, from those teachers that are worth it."""

from collections.abc import Callable, Mapping

from torch import nn

from mentorch._errors import UsageError
from mentorch.data import LabelSpace


def choose_teachers(
    teachers: Mapping[str, nn.Module],
    usefulness: Callable[[str, nn.Module], float],
    *,
    space: LabelSpace,
    keep: int | None = None,
    least: float | None = None,
) -> dict[str, float]:
    """Which teachers to amalgamate for a label space, the most useful first (customised amalgamation).

    Teachers that know none of the classes are left out, unasked. Of the others the least useful are dropped first, as
    long as each of their classes is known by another one: no class of the student is left without a teacher.

    >>> from mentorch.data import LabelSpace
    >>> space = LabelSpace.union({"a": ("cat", "dog"), "b": ("dog", "cow"), "c": ("cat", "cow"), "d": ("hen",)})
    >>> teachers = {name: nn.Linear(1, 1) for name in space.parts}
    >>> score = {"a": 0.9, "b": 0.2, "c": 0.4}
    >>> choose_teachers(teachers, lambda name, network: score[name], space=space.only(["cat", "dog", "cow"]), keep=2)
    {'a': 0.9, 'c': 0.4}

    Args:
        teachers: name -> network.
        usefulness: ``usefulness(name, network)``, higher is better: a score of :mod:`mentorch.transferability` on
            unlabelled images, say.
        space: the classes wanted (:meth:`mentorch.data.LabelSpace.only`), one part for each teacher.
        keep: so many at most.
        least: drop those below.

    Returns:
        The teachers that are kept -> their usefulness.

    Raises:
        UsageError: for a class that no teacher knows, ``keep`` below 1, a usefulness that is no number, or a teacher
            that must go by ``keep`` or ``least`` but alone knows a class.
    """
    if keep is not None and keep < 1:
        raise UsageError(f"keep must be at least 1, not {keep}")
    able = [name for name in teachers if any(k >= 0 for k in space.parts.get(name, ()))]
    scores = {name: float(usefulness(name, teachers[name])) for name in able}
    for name, score in scores.items():
        if score != score:
            raise UsageError(f"the usefulness of {name!r} is not a number")
    kept = dict(sorted(scores.items(), key=lambda entry: -entry[1]))
    _check_known(space, kept)
    for name in reversed(tuple(kept)):
        too_many, too_low = keep is not None and len(kept) > keep, least is not None and kept[name] < least
        if not (too_many or too_low):
            continue
        alone = [c for c in space.names if [owner for owner in space.owners(c) if owner in kept] == [name]]
        if not alone:
            del kept[name]
        elif too_low:
            raise UsageError(f"{name!r} is not useful enough ({kept[name]:g}), but nobody else knows {alone[0]!r}")
    if keep is not None and len(kept) > keep:
        raise UsageError(f"{keep} teachers do not know all classes: at least these are needed: {', '.join(kept)}")
    return kept


def _check_known(space: LabelSpace, kept: Mapping[str, float]) -> None:
    for name in space.names:
        if not any(owner in kept for owner in space.owners(name)):
            raise UsageError(f"no teacher knows class {name!r}: leave it out")
