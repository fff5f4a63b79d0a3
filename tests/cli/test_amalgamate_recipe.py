import typing
from typing import Any

import pytest

from mentorch import UsageError
from mentorch.cli import _amalgamate_recipe
from mentorch.cli._amalgamate_recipe import METHODS, AmalgamateRecipe
from mentorch.cli._recipe import check
from mentorch.losses import _concatenated

TWO = {"teachers": "a,b"}


def test_targets_are_those_of_the_loss_and_every_method_is_one() -> None:
    assert typing.get_args(_amalgamate_recipe.Target) == typing.get_args(_concatenated.Target)
    recipe = check(AmalgamateRecipe, {**TWO, "methods": ",".join((*METHODS, METHODS[0]))})
    assert recipe.methods == METHODS


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"teachers": ()}, "teachers: amalgamation needs at least two: one alone is for 'mentorch distill', got"),
        ({"teachers": "a"}, "teachers: amalgamation needs at least two"),
        ({"methods": "kd,pkt"}, "methods: unknown method 'pkt' (known: scratch, kd, cfl, layerwise, recombine), got"),
        ({"methods": ","}, "methods: name at least one, got"),
        ({"target": "loudest"}, "target: Input should be 'joint',"),
        (
            {"test": "digits"},
            "scratch learns from labels, and those of --data do not count beside --test: leave it out",
        ),
        ({"weight": {"kd": 1}}, "weight: 'kd' has none (cfl and layerwise have one)"),
        ({"weight": {"layerwise": 1}}, "weight of layerwise has no effect with methods scratch, kd, cfl"),
        ({"variant": "kamal", "methods": "kd"}, "variant has no effect with methods kd (only cfl)"),
        ({"bandwidths": "data", "methods": "kd"}, "bandwidths has no effect with methods kd (only cfl)"),
        ({"pictures": 0, "methods": "kd,layerwise"}, "pictures has no effect with methods kd, layerwise (only cfl)"),
        ({"keep": 0.5}, "keep has no effect with methods scratch, kd, cfl (only recombine)"),
        ({"rounds": 2}, "rounds has no effect with methods scratch, kd, cfl (only recombine)"),
        ({"usefulness": "knn"}, "usefulness has no effect with all teachers: say how many with keep_teachers"),
        ({"temperature": 2, "target": "mse"}, "temperature has no effect with target mse"),
        ({"calibrate": True, "target": "standardized"}, "calibrate has no effect with target standardized"),
        ({"knn": 5, "test": "digits", "methods": "kd"}, "knn has no effect with test: nobody knows the classes of"),
        ({"momentum": 0.5}, "momentum has no effect with optimizer adam"),
        ({"keep": 1, "methods": "recombine"}, "keep: Input should be less than 1, got 1"),
    ],
)
def test_a_choice_without_effect_or_sense_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        check(AmalgamateRecipe, {**TWO, **values})
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [
        {"methods": "kd", "test": "digits"},
        {"methods": "cfl,layerwise", "weight": "cfl=3,layerwise=0.5", "variant": "kamal", "pictures": 0},
        {"methods": "recombine", "keep": 0.5, "rounds": 2},
        {"keep_teachers": 2, "usefulness": "knn"},
        {"target": "mse"},
        {"target": "standardized", "temperature": 2},
    ],
)
def test_what_has_an_effect_is_written_and_comes_back(values: dict[str, Any]) -> None:
    recipe = check(AmalgamateRecipe, {**TWO, **values})
    plain = recipe.to_plain()
    assert check(AmalgamateRecipe, plain) == recipe
    assert set(values) <= set(plain)
    assert not any(recipe.idle(name) for name in plain)
