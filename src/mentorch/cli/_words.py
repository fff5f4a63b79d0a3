"""The words of a command line, before they are parsed: lists with spaces, nouns without names, options of losses."""

import difflib
import functools
from collections.abc import Collection, Sequence

from mentorch._errors import UsageError
from mentorch.cli._notation import known, options_of
from mentorch.cli._yaml import RECIPES

ALIASES = {"methods": ("-m",), "method": ("-m",), "epochs": ("-e",), "batch_size": ("-b",), "optimizer": ("-o",)}
"""Short forms of options, by the field of the recipe."""
NOUNS = ("--teacher", "--student", "--data")
_LOSS_ALIASES = {"-t": "--temperature"}


def flag(field: str) -> str:
    """A field of a recipe as an option.

    >>> flag("batch_size")
    '--batch-size'
    """
    return "--" + field.replace("_", "-")


@functools.cache
def _lists() -> set[str]:
    """The options that take several values."""
    return {
        word
        for kind in RECIPES.values()
        for name, field in kind.model_fields.items()
        if str(field.annotation).startswith(("tuple", "dict"))
        for word in (flag(name), *ALIASES.get(name, ()))
    }


def gather(arguments: Sequence[str], own: Collection[str] = ()) -> list[str]:
    """Let lists be written with spaces, the nouns of a transfer without names, and options of losses like any other.

    >>> gather(["compare", "big/", "small", "--methods", "kd", "pkt", "--seeds", "0", "1", "-q"])
    ['compare', '--teacher', 'big/', '--student', 'small', '--methods', 'kd,pkt', '--seeds', '0,1', '-q']
    >>> gather(["distill", "--method", "dkd", "--beta", "8", "--lr", "1"], own=["--method", "--lr"])
    ['distill', '--method', 'dkd', '--lr', '1', '--set', 'beta=8']

    Args:
        arguments: words as the shell gives them.
        own: the options of the command, if it takes options of losses beside them.

    Raises:
        UsageError: for an option that is neither, an option of a loss without its value, or a noun that is given twice.
    """
    left, done, settings = list(arguments), [], []
    if left[:1] == ["amalgamate"] and any(word.partition("=")[0] == "--tasks" for word in left):
        left[0] = "branch"  # dense tasks are amalgamated by branching
    if left[:1] in (["compare"], ["distill"]):
        done.append(left.pop(0))
        for noun in NOUNS:
            if left and not left[0].startswith("-"):
                done += [noun, left.pop(0)]
                if any(word.partition("=")[0] == noun for word in left):
                    raise UsageError(f"{done[-1]!r} is the {noun[2:]} already, and {noun} names another: say only one")
    while left:
        word = left.pop(0)
        word = _LOSS_ALIASES.get(word, word) if own else word
        name, equals, value = word.partition("=")
        if own and name.startswith("--") and len(name) > 2 and name not in own:
            settings.append(_setting(name, value if equals else None, left, own))
            continue
        values = [value] if equals else []
        while word in _lists() and left and not left[0].startswith("-"):
            values.append(left.pop(0).strip(","))
        if own and name == "--set" and values:
            settings += values
            continue
        done.append(word)
        done += [",".join(values)] if word in _lists() and values else []
    return [*done, "--set", ",".join(settings)] if settings else done


def _setting(name: str, value: str | None, left: list[str], own: Collection[str]) -> str:
    """``--dkd.beta 8`` or ``--no-t-squared`` as KEY=VALUE; its value is taken from the words that are left."""
    loss, dot, option = name[2:].rpartition(".")
    option = option.replace("-", "_")
    negated = option.removeprefix("no_")
    switches, others = _options(switch=True), _options(switch=False)
    if option in others:
        if value is None and (not left or left[0].startswith("--")):
            raise UsageError(f"{name} needs a value")
        return f"{loss}{dot}{option}={left.pop(0) if value is None else value}"
    if option in switches or (negated in switches and value is None):
        return f"{loss}{dot}{negated}={value if value is not None else str(option == negated).lower()}"
    flags = {*own, *(flag(name) for name in switches | others)}
    near = difflib.get_close_matches(name, sorted(flags), n=1)
    hint = f"Did you mean {near[0]}?" if near else "--help lists the options, 'mentorch methods NAME' those of a loss"
    raise UsageError(f"No such option: {name}. {hint}")


def _options(*, switch: bool) -> set[str]:
    """The options of all losses that are switches, or those that take a value."""
    every = (option for loss in known() for option in options_of(loss).values())
    return {option.name for option in every if (option.type is bool) == switch}
