"""Recipe files: YAML that is checked, with line numbers in errors."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mentorch._errors import RunError, UsageError
from mentorch._files import write_text
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.cli._graph_recipe import GraphRecipe
from mentorch.cli._rank_recipe import RankRecipe
from mentorch.cli._recipe import Recipe, TrainRecipe, describe
from mentorch.cli._search_recipe import SearchRecipe
from mentorch.cli._structural_recipe import EvolveRecipe, SlimRecipe
from mentorch.cli._transfer import CompareRecipe, DistillRecipe

RECIPES: Mapping[str, type[Recipe]] = {
    "train": TrainRecipe,
    "compare": CompareRecipe,
    "distill": DistillRecipe,
    "graph": GraphRecipe,
    "amalgamate": AmalgamateRecipe,
    "branch": BranchRecipe,
    "search": SearchRecipe,
    "evolve": EvolveRecipe,
    "slim": SlimRecipe,
    "rank": RankRecipe,
}

LARGEST = 100_000
"""Values that a recipe may have."""
DEEPEST = 50
"""Brackets that may be open at a time."""


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe that ``mentorch run`` repeats."""
    import yaml

    plain = recipe.to_plain()
    ordered = {"command": plain.pop("command"), **plain}
    write_text(path, yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True))


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RunError: if the file cannot be read.
        UsageError: for unknown or mistyped keys, with the line number.
    """
    from pydantic import ValidationError

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read recipe {path}: {getattr(error, 'strerror', None) or error}") from error
    root, values = _parse(text, path)
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a mapping of options, starting with 'command:'")
    for key in _repeated(root):
        raise UsageError(f"{path}, line {key.start_mark.line + 1}: {key.value!r} is there twice")
    command = str(values.get("command"))
    if command not in RECIPES:
        raise UsageError(f"{path}: command must be one of {', '.join(RECIPES)}, got {command!r}")
    try:
        return RECIPES[command].model_validate(values)
    except ValidationError as error:
        told, place = describe(error, RECIPES[command]), error.errors()[0]["loc"]
        line = _line(root, place) if place else _line_of_key(root, told.split()[0].strip(":"))
        where = f"{path}, line {line}" if line else path
        raise UsageError(f"{where}: {told}") from error


def _parse(text: str, path: Path) -> tuple[Any, Any]:
    """The nodes of a YAML text, for their lines, and its values."""
    import yaml

    try:
        if any(depth > DEEPEST for depth in _depths(yaml.parse(text, Loader=yaml.SafeLoader))):
            raise UsageError(f"{path}: not a recipe: it is nested too deeply")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if next(itertools.islice(_unfolded(root), LARGEST, None), None) is not None:
            raise UsageError(f"{path} unfolds to more than {LARGEST:,} values: no recipe has so many")
        return root, yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UsageError(f"{path}{line}: not YAML: {problem}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        # numbers and dates that look like some and are none
        raise UsageError(f"{path}: not YAML: a value cannot be read ({' '.join(str(error).split())})") from error


def _depths(events: Iterable[Any]) -> Iterator[int]:
    """How many brackets are open, event by event; the parser's time grows with the square of it."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        yield depth


def _unfolded(root: Any) -> Iterator[Any]:
    """Every node, as often as it is referred to: a few lines of references can stand for endlessly many."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(getattr(node, "value", None), list):
            waiting += (part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))


def _repeated(node: Any) -> Iterator[Any]:
    """The keys that a mapping has already; YAML would silently take the last one."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield key
            seen.add(str(key.value))
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def _line(node: Any, path: tuple[Any, ...]) -> int:
    """The line (from 1) of the value at a path, or of the deepest part of the path that exists."""
    line: int = node.start_mark.line + 1
    for part in path:
        pairs = node.value if isinstance(node.value, list) else []
        if pairs and isinstance(pairs[0], tuple):
            found = next(((key, value) for key, value in pairs if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(part, int) and part < len(pairs):
            node = pairs[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _line_of_key(root: Any, name: str) -> int | None:
    """The line (from 1) of an option, also of one that is set for losses; None if that is not there."""
    inside = next((value.value for key, value in root.value if key.value == "set"), ())
    pairs = [*root.value, *(pair for pair in inside if isinstance(pair, tuple))]
    return next((key.start_mark.line + 1 for key, _ in pairs if key.value == name), None)
