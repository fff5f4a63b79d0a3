import json
from pathlib import Path
from typing import Any

import pytest

from mentorch import UsageError
from mentorch.cli._recipe import check
from mentorch.cli._structural_recipe import EvolveRecipe, SlimRecipe, check_method
from mentorch.cli._yaml import read_recipe, write_recipe

CASES: list[tuple[Any, dict[str, Any]]] = [
    (EvolveRecipe, {}),
    (EvolveRecipe, {"mode": "later", "layers": 2, "controls": ["restarts", "restarts"], "bias": True}),
    (
        EvolveRecipe,
        {"teacher": "zoo/a b", "method": "dkd:beta=2+pkt", "law": "zero", "norm": "affine", "select": "best"},
    ),
    (EvolveRecipe, {"mode": "wels", "keep": 0.07, "seeds": [3, 1], "label_smoothing": 0.1, "baseline": False}),
    (SlimRecipe, {"network": "zoo/a"}),
    (
        SlimRecipe,
        {"network": "w:x.pt", "to": 0.3, "of": "parameters", "by": "taylor", "methods": "finetune,kd,finetune"},
    ),
]


@pytest.mark.parametrize(("kind", "values"), CASES, ids=str)
def test_a_recipe_comes_back_from_plain_data_and_from_its_file(
    tmp_path: Path, kind: Any, values: dict[str, Any]
) -> None:
    recipe = check(kind, values)
    assert kind.model_validate(json.loads(json.dumps(recipe.to_plain()))) == recipe
    write_recipe(tmp_path / "recipe.yaml", recipe)
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_what_is_named_twice_counts_once() -> None:
    assert check(EvolveRecipe, {"controls": ("restarts", "restarts")}).controls == ("restarts",)  # type: ignore[attr-defined]
    assert check(SlimRecipe, {"network": "a", "methods": "kd,finetune,kd"}).methods == ("kd", "finetune")  # type: ignore[attr-defined]


def test_everything_in_one_table_has_equal_epochs() -> None:
    for kind, values in ((EvolveRecipe, {}), (SlimRecipe, {"network": "a"})):
        recipe = check(kind, values)
        assert (recipe.early_stop, recipe.lr_schedule, recipe.select, recipe.save_students) == (
            0,
            "cosine",
            "last",
            "all",
        )
        with pytest.raises(UsageError, match="early_stop must be 0, got 3"):
            check(kind, {**values, "early_stop": 3})


@pytest.mark.parametrize("method", ["scratch", "kdd", "kd:temp=3", "simkd"])
def test_what_is_no_way_to_learn_from_a_teacher(method: str) -> None:
    with pytest.raises(ValueError, match=r"scratch is no way|unknown|simkd is not"):
        check_method(method)
