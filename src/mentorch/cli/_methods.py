"""Methods by name: sums of losses, as graphs."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mentorch import losses
from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph, View
from mentorch.cli._recipe import SCRATCH, CompareRecipe
from mentorch.cli._training import example
from mentorch.comparison import Method, Teacher
from mentorch.data import Dataset
from mentorch.methods import WinnerTakesAll, distill, mean_of_teachers, one_copy_each, supervise
from mentorch.networks import Taps, taps

# where the comparison toolkit's default differs from the published weight that the catalogue has
_WEIGHTS = {"kd": 1.0}
_TEMPERATURES = {"kd": 2.0}


def known() -> list[str]:
    """The names that methods are made of."""
    return [SCRATCH, *(name for name, info in losses.catalogue().items() if info.teacher and info.by_name)]


def parse(method: str) -> list[str]:
    """The losses of a method.

    Raises:
        UsageError: for a name that does not exist, or a loss that is named twice.
    """
    parts = [part.strip() for part in method.split("+")]
    for part in parts:
        if part not in known():
            raise unknown("method", part, known())
    if len(set(parts)) < len(parts) or (SCRATCH in parts and len(parts) > 1):
        raise UsageError(f"method {method!r}: name each loss once; scratch stands alone")
    return parts


def needs_teacher(methods: Sequence[str]) -> bool:
    """Whether one of the methods learns from a teacher."""
    return any(parse(method) != [SCRATCH] for method in methods)


def make(
    recipe: CompareRecipe,
    teachers: Mapping[str, Teacher],
    view: View | None,
    places: Mapping[str, Taps],
    data: Dataset,
) -> dict[str, Method]:
    """The methods of a recipe, ready to draw; shapes and the number of samples are those of ``data``.

    Raises:
        UsageError: for unknown methods, weights of losses that no method has, or sub-teachers without kd.
    """
    parsed = {name: parse(name) for name in recipe.methods}
    used = {part for parts in parsed.values() for part in parts}
    for name in recipe.weight:
        if name not in used:
            raise unknown("loss in --weight", name, used - {SCRATCH})
    return {name: _make(recipe, parts, teachers, view, places, data) for name, parts in parsed.items()}


def _make(
    recipe: CompareRecipe,
    parts: list[str],
    teachers: Mapping[str, Teacher],
    view: View | None,
    places: Mapping[str, Taps],
    data: Dataset,
) -> Method:
    if parts == [SCRATCH]:
        return Method(functools.partial(supervise, view=view))
    seen = {name: teacher.view for name, teacher in teachers.items() if teacher.view is not None}
    if len(teachers) > 1:
        if parts != ["kd"]:
            raise UsageError(f"several teachers work with the methods scratch and kd, not {'+'.join(parts)!r}")
        return _selective(recipe, {name: t.network for name, t in teachers.items()}, view, seen)
    pairs = [(_bound(name, recipe), _weight(name, recipe)) for name in parts]
    if "pkt" in parts and recipe.pkt_supervised:
        pairs.append((losses.pkt_supervised, recipe.pkt_supervised * _weight("pkt", recipe)))
    if view is not None:
        seen["student"] = view
    (teacher,) = teachers.values()

    def draw(student: nn.Module) -> Graph:
        return distill(
            student,
            teacher.network,
            *pairs,
            labels=recipe.kd_supervised if "kd" in parts else 1.0,
            samples=int(data.train.index.max()) + 1,
            places=places,
            views=seen,
            example=example(data),
        )

    return Method(draw)


def _selective(
    recipe: CompareRecipe, networks: Mapping[str, nn.Module], view: View | None, seen: Mapping[str, View]
) -> Method:
    temperature = recipe.temperature or _TEMPERATURES["kd"]
    options: dict[str, Any] = {
        "temperature": temperature,
        "gate": _weight("kd", recipe),
        "labels": recipe.kd_supervised,
    }
    if recipe.sub_teachers == "mean":
        views = {**seen, **({"student": view} if view is not None else {})}
        return Method(lambda student: mean_of_teachers(student, networks, views=views, **options))
    return Method(
        lambda student: one_copy_each(student, networks, view=view, views=seen, **options),
        node="*",
        callbacks=lambda: (WinnerTakesAll().callback,),
    )


def _weight(name: str, recipe: CompareRecipe) -> float:
    published = losses.catalogue()[name].weight
    return recipe.weight.get(name, _WEIGHTS.get(name, published))


def _bound(name: str, recipe: CompareRecipe) -> Any:
    """A loss with the recipe's options."""
    function = losses.catalogue()[name].function
    options: dict[str, Any] = {}
    if name in ("kd", "dkd"):
        temperature = recipe.temperature or _TEMPERATURES.get(name)
        if temperature is not None:
            options["temperature"] = temperature
    if name == "kd":
        options["t_squared"] = recipe.t_squared
    loss = functools.partial(function, **options) if options else function
    return losses.standardized(loss) if name == "kd" and recipe.standardize else loss


def places(tap: Mapping[str, str], networks: Mapping[str, nn.Module]) -> dict[str, Taps]:
    """``student.embedding=fc:in`` and ``teacher.stages=a;b;c`` as :class:`Taps`; the rest is as the network says.

    Raises:
        UsageError: for another form, or a node that there is not.
    """
    found: dict[str, Taps] = {}
    for key, value in tap.items():
        node, _, what = key.partition(".")
        if node not in networks:
            raise unknown("node in --tap", node, networks)
        if what not in ("embedding", "stages", "stem"):
            raise UsageError(f"--tap {key}={value}: write student.embedding=PLACE or teacher.stages=PLACE;PLACE")
        place: Any = tuple(value.split(";")) if what == "stages" else value
        found[node] = dataclasses.replace(found.get(node) or _own(networks[node]), **{what: place})
    return found


def _own(network: nn.Module) -> Taps:
    try:
        return taps(network)
    except UsageError:  # it says nothing about itself: what is not tapped stays unknown
        return Taps("", (), "")
