"""Methods by name: sums of losses, as graphs."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mentorch import losses
from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph, View
from mentorch.cli._notation import SCRATCH, WEIGHTS, Part, parse, parse_all, wrapper
from mentorch.cli._training import example
from mentorch.cli._transfer import TransferRecipe
from mentorch.comparison import Method, Teacher
from mentorch.data import Dataset, strong
from mentorch.methods import WinnerTakesAll, distill, mean_of_teachers, one_copy_each, reuse, supervise
from mentorch.networks import Taps, taps


def needs_teacher(methods: Sequence[str]) -> bool:
    """Whether one of the methods learns from a teacher."""
    return any(part.loss != SCRATCH for part in parse_all(methods))


def make(
    recipe: TransferRecipe,
    teachers: Mapping[str, Teacher],
    view: View | None,
    places: Mapping[str, Taps],
    data: Dataset,
) -> dict[str, Method]:
    """The methods of a recipe, ready to draw; shapes and the number of samples are those of ``data``.

    Raises:
        UsageError: for weights of losses that no method has, or sub-teachers without kd.
    """
    used = {name for part in parse_all(recipe.asked) for name in part.names}
    for name in recipe.weight:
        if name not in used:
            raise unknown("loss in --weight", name, used - {SCRATCH})
    return {name: _make(recipe, parse(name), teachers, view, places, data) for name in recipe.asked}


def _make(
    recipe: TransferRecipe,
    parts: Sequence[Part],
    teachers: Mapping[str, Teacher],
    view: View | None,
    places: Mapping[str, Taps],
    data: Dataset,
) -> Method:
    if parts[0].loss == SCRATCH:
        return Method(functools.partial(supervise, view=view))
    seen = {name: teacher.view for name, teacher in teachers.items() if teacher.view is not None}
    if len(teachers) > 1:
        if [part.name for part in parts] != ["kd"]:
            names = "+".join(part.name for part in parts)
            raise UsageError(f"several teachers work with the methods scratch and kd, not {names!r}")
        return _selective(recipe, parts[0], {name: t.network for name, t in teachers.items()}, view, seen)
    if parts[0].loss == "simkd":
        return _reusing(recipe, parts[0], teachers, view, places, data)
    pairs = [(_bound(part, recipe), _weight(part, recipe)) for part in parts]
    supervised = [_weight(part, recipe) for part in parts if part.loss == "pkt" and recipe.pkt_supervised]
    pairs += [(losses.pkt_supervised, recipe.pkt_supervised * weight) for weight in supervised]
    if view is not None:
        seen["student"] = view
    (teacher,) = teachers.values()

    def draw(student: nn.Module) -> Graph:
        return distill(
            student,
            teacher.network,
            *pairs,
            labels=_labels(recipe, parts),
            samples=int(data.train.index.max()) + 1,
            places=places,
            views=seen,
            example=example(data),
        )

    return Method(draw, strong=strong(data) if _in_pairs(parts, recipe) else None)


def _in_pairs(parts: Sequence[Part], recipe: TransferRecipe) -> bool:
    """Whether a batch holds each sample in two views."""
    pairs = [part.loss for part in parts if losses.catalogue()[part.loss].pairs]
    if pairs and recipe.cache != "off":
        raise UsageError(f"{pairs[0]} reads two views of each sample at once, which a cache does not keep: --cache off")
    return bool(pairs)


def _reusing(
    recipe: TransferRecipe,
    part: Part,
    teachers: Mapping[str, Teacher],
    view: View | None,
    places: Mapping[str, Taps],
    data: Dataset,
) -> Method:
    """A student that ends in the teacher's classifier: another network than the one that was named."""
    (teacher,) = teachers.values()
    found = {"student": view, "teacher": teacher.view}
    views = {name: seen for name, seen in found.items() if seen is not None}
    options: dict[str, Any] = {**part.chosen(recipe.set), "gate": _weight(part, recipe)}

    def draw(student: nn.Module) -> Graph:
        device = next(student.parameters()).device
        shown = (example(data).inputs.to(device),)
        return reuse(student, teacher.network, example=shown, places=places, views=views, **options)

    return Method(draw, own_network=True)


def _selective(
    recipe: TransferRecipe, part: Part, networks: Mapping[str, nn.Module], view: View | None, seen: Mapping[str, View]
) -> Method:
    chosen = part.chosen(recipe.set)
    if idle := sorted(chosen.keys() - {"temperature"}):
        raise UsageError(f"{idle[0]} has no effect with several teachers")
    options: dict[str, Any] = {**chosen, "gate": _weight(part, recipe), "labels": recipe.kd_supervised}
    if recipe.sub_teachers == "mean":
        views = {**seen, **({"student": view} if view is not None else {})}
        return Method(lambda student: mean_of_teachers(student, networks, views=views, **options))
    return Method(
        lambda student: one_copy_each(student, networks, view=view, views=seen, **options),
        node="*",
        callbacks=lambda: (WinnerTakesAll().callback,),
    )


def _labels(recipe: TransferRecipe, parts: Sequence[Part]) -> float:
    """The weight of the labels: the recipe's for kd; else what was published, where that is not 0."""
    if any(part.loss == "kd" for part in parts):
        return recipe.kd_supervised
    return min(losses.catalogue()[part.loss].labels_weight for part in parts) or 1.0


def _weight(part: Part, recipe: TransferRecipe) -> float:
    if part.weight is not None:
        return part.weight
    tables = (recipe.weight, WEIGHTS)
    names = ["-".join((*part.wrappers[i:], part.loss)) for i in range(len(part.wrappers) + 1)]  # more particular first
    said = (table[name] for table in tables for name in names if name in table)
    return next(said, losses.catalogue()[part.loss].weight)


def _bound(part: Part, recipe: TransferRecipe) -> Any:
    """A loss with its options, in its wrappers."""
    loss, options = losses.catalogue()[part.loss].function, part.chosen(recipe.set)
    if options:
        loss = functools.partial(loss, **options)
    for name in reversed(part.wrappers):
        loss = wrapper(name)(loss)
    return loss


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
