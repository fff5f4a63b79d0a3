"""Recipes that are shown must be recipes."""

from pathlib import Path

import pytest

from mentorch.cli._yaml import read_recipe

RECIPES = sorted((Path(__file__).parent.parent / "examples" / "recipes").glob("*.yaml"))


def test_there_are_some() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_read_and_says_how_it_is_run(path: Path) -> None:
    assert read_recipe(path).name
    assert f"mentorch run examples/recipes/{path.name}" in path.read_text(encoding="utf-8")
