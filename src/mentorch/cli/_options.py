"""Recipes as commands: one option per field."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mentorch.cli._recipe import Recipe, check
from mentorch.cli._words import ALIASES, flag

Resume = Annotated[bool, typer.Option("--resume", help="Go on in the run folder: finished parts are kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and describe everything, train nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
_SWITCHES = {"resume": Resume, "dry_run": DryRun, "quiet": Quiet, "as_json": AsJson}

# what all commands share comes after what a command has for itself
_SHARED_PANELS = ("Methods", "Networks", "Data", "Training", "Machine", "Output")


def new_app(text: str | None = None) -> typer.Typer:
    """What the command line is made of; with a text it is a command that has commands."""
    return typer.Typer(
        help=text,
        no_args_is_help=text is not None,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def from_recipe(kind: type[Recipe]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of all recipes, and one for each field of its own.

    The function receives the checked recipe and the session that carries it out, and by name what it has beside them.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[2:]
        fields = sorted(kind.model_fields.keys() - {"command"}, key=lambda name: _place(kind, name))

        def command(**values: Any) -> None:
            from mentorch.cli._run import Session

            asked = {name: values[name] for name in fields if values[name] is not None}
            session = Session(check(kind, asked), **{name: values[name] for name in _SWITCHES})
            function(session.recipe, session, **{p.name: values[p.name] for p in own})

        parameters = [*own, *map(_switch, _SWITCHES), *(_parameter(kind, name) for name in fields)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _switch(name: str) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_SWITCHES[name])


def _place(kind: type[Recipe], name: str) -> tuple[int, bool, int]:
    """Where ``--help`` shows a field: by its panel, there those of the command itself first."""
    shared = any(name in getattr(base, "model_fields", {}) for base in kind.__bases__)
    panel = _panel(kind, name)
    place = _SHARED_PANELS.index(panel) if panel in _SHARED_PANELS else -1
    return place, shared, list(kind.model_fields).index(name)


def _panel(kind: type[Recipe], name: str) -> str:
    return str((kind.model_fields[name].json_schema_extra or {})["panel"])  # type: ignore[index]


def _parameter(kind: type[Recipe], name: str) -> inspect.Parameter:
    field = kind.model_fields[name]
    panel, long = _panel(kind, name), flag(name)
    is_switch = field.annotation is bool
    declared = (f"{long}/--no-{long[2:]}",) if is_switch else (long, *ALIASES.get(name, ()))
    text = f"{field.description}  [default: {_written(field.default)}]"
    annotation: Any = Annotated[
        (bool | None) if is_switch else (str | None),
        typer.Option(*declared, help=text, rich_help_panel=panel, show_default=False, metavar=_metavar(name, kind)),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(name: str, kind: type[Recipe]) -> str | None:
    annotation = str(kind.model_fields[name].annotation)
    if annotation == "<class 'bool'>":
        return None
    if annotation.startswith("tuple"):
        return "A,B,..."
    if annotation.startswith("dict"):
        return "KEY=VALUE,..."
    if annotation.startswith("typing.Literal"):
        return "TEXT"
    return "NUMBER" if "int" in annotation or "float" in annotation else "TEXT"


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == {} else str(value)
