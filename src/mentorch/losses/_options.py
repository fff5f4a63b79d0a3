"""The options of a loss as data, for a command line."""

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mentorch.losses._info import LossInfo


@dataclass(frozen=True)
class OptionInfo:
    """Facts about one option of a loss.

    Attributes:
        name: the keyword.
        type: ``bool``, ``int``, ``float``, ``str``, or ``tuple`` for several numbers (floats).
        default: what it is if not given; ``None`` where the loss finds it out itself.
        doc: what it does, one line of plain text.
        choices: the words of which a ``str`` is one.
    """

    name: str
    type: type
    default: Any
    doc: str
    choices: tuple[str, ...] = ()


def options(info: LossInfo) -> dict[str, OptionInfo]:
    """What can be chosen about a loss with a number or a word, by name, read off its signature and its docstring.

    Left out: what whoever draws the edge supplies (``info.context``), and what only code can give, such as a module.

    >>> from mentorch.losses import catalogue
    >>> options(catalogue()["dkd"])["beta"]
    OptionInfo(name='beta', type=<class 'float'>, default=8.0, doc='weight of the relations among the other classes.', \
choices=())
    >>> options(catalogue()["fsp"])["pooling"].choices
    ('average', 'max')
    """
    texts = _texts(info.function.__doc__ or "")
    found: dict[str, OptionInfo] = {}
    for name, parameter in inspect.signature(info.function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in info.context:
            continue
        kind, choices = _read(parameter.annotation)
        if kind is not None:
            found[name] = OptionInfo(name, kind, parameter.default, texts.get(name, ""), choices)
    return found


def _read(annotation: Any) -> tuple[type | None, tuple[str, ...]]:
    """The type of an option and its choices; no type where no text could stand for a value."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return str, inner
    if origin is Sequence and inner == (float,):
        return tuple, ()
    if origin in (types.UnionType, typing.Union):
        (annotation, *others) = [part for part in inner if part is not types.NoneType]
        return (None, ()) if others else _read(annotation)
    return (annotation if annotation in (bool, int, float, str) else None), ()


def _texts(docstring: str) -> dict[str, str]:
    """The section ``Args:`` of a docstring: one line for each argument, without markup."""
    section = re.search(r"^Args:\n((?: .*\n|\n)+)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", textwrap.dedent(section[1]), re.MULTILINE)
    return {name: re.sub(r"(?::\w+:)?`+~?([^`]*)`+", r"\1", " ".join(text.split())) for name, text in entries}
