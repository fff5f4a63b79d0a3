"""Methods as they are written: ``kd+pkt``, ``dkd:beta=2``, ``standardized-kd:temperature=2:weight=9``."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mentorch
from mentorch._errors import UsageError, unknown

if TYPE_CHECKING:
    from mentorch.losses import OptionInfo

SCRATCH = "scratch"
WRAPPERS = ("standardized", "where_correct")
"""What may stand before a loss on logits, with a hyphen; functions of :mod:`mentorch.losses`."""
IN_PYTHON: Mapping[str, str] = {
    "concatenated": "it is about teachers with classes of their own: see mentorch amalgamate, or methods.amalgamate",
}
"""Why some losses need more than their name."""
ALONE: Mapping[str, str] = {
    SCRATCH: "it is without teacher",
    "mlkd": "its batches hold each sample twice",
    "simkd": "its student learns the teacher's last map and nothing else, and ends in the teacher's classifier",
}
"""What is not added to anything, and why."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {"kd": {"temperature": 2.0}}
"""Where the comparison toolkit's default differs from the catalogue's: loss -> option -> value."""
WEIGHTS: Mapping[str, float] = {"kd": 1.0, "standardized-kd": 9.0, "standardized-dkd": 9.0}
"""The toolkit's for kd, and what was published of wrapped losses; the catalogue has all others."""

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass(frozen=True)
class Part:
    """One loss of a method.

    Attributes:
        loss: its name in the catalogue, or ``scratch``.
        wrappers: around it, outermost first.
        options: what was written behind it.
        weight: the same for its weight.
    """

    loss: str
    wrappers: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = None

    @property
    def name(self) -> str:
        """The loss with its wrappers, as it is written."""
        return "-".join((*self.wrappers, self.loss))

    @property
    def names(self) -> tuple[str, str]:
        """What a setting may call it, the more particular name last."""
        return self.loss, self.name

    def chosen(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Its options: what stands behind it, else what is set for it, else what is set for all."""
        found = dict(DEFAULTS.get(self.loss, {}))
        for name in options_of(self.loss):
            for key in (name, *(f"{own}.{name}" for own in self.names)):
                if key in settings:
                    found[name] = settings[key]
        return {**found, **self.options}


def known() -> list[str]:
    """The names that methods are made of."""
    return [
        SCRATCH,
        *sorted(name for name, info in mentorch.losses.catalogue().items() if info.teacher and info.by_name),
    ]


@functools.cache
def options_of(loss: str) -> Mapping[str, "OptionInfo"]:
    """The options of a loss; scratch has none."""
    return {} if loss == SCRATCH else mentorch.losses.options(mentorch.losses.catalogue()[loss])


@functools.cache
def parse(method: str) -> tuple[Part, ...]:
    """The losses of a method.

    >>> [part.name for part in parse("standardized-kd:temperature=2+pkt")]
    ['standardized-kd', 'pkt']

    Raises:
        UsageError: for a name or an option that does not exist, a value that does not fit, or a loss that is named
            twice.
    """
    parts = tuple(_part(text.strip()) for text in method.split("+"))
    names = [part.name for part in parts]
    if len(set(names)) < len(parts):
        raise UsageError(f"method {method!r}: name each loss once")
    if alone := [name for name in names if name in ALONE and len(parts) > 1]:
        raise UsageError(f"method {method!r}: {alone[0]} stands alone, as {ALONE[alone[0]]}")
    return parts


def parse_all(methods: Iterable[str]) -> list[Part]:
    """The losses of several methods."""
    return [part for method in methods for part in parse(method)]


def _part(text: str) -> Part:
    head, *written = text.split(":")
    *wrappers, loss = head.split("-")
    if loss not in known():
        if loss in IN_PYTHON:
            raise UsageError(
                f"{loss} is not a method by name, as {IN_PYTHON[loss]}: draw its edge in Python, "
                f"see help(mentorch.losses.{mentorch.losses.catalogue()[loss].function.__name__})"
            )
        raise unknown("method", head, known())
    for wrapper in wrappers:
        check_wrapper(wrapper, loss)
    if len(set(wrappers)) < len(wrappers):
        raise UsageError(f"method {head!r}: name each wrapper once")
    options: dict[str, Any] = {}
    known_here = {**options_of(loss), "weight": _weight()} if loss != SCRATCH else {}
    for setting in written:
        name, equals, raw = setting.partition("=")
        if not equals or name in options:
            raise UsageError(f"method {text!r}: write each option once, as :OPTION=VALUE, not {setting!r}")
        if name not in known_here:
            raise _no_option(name, [loss], known_here)
        options[name] = value(f"{head}:{name}", known_here[name], raw)
    weight = options.pop("weight", None)
    if weight is not None and weight < 0:
        raise UsageError(f"{head}:weight is 0 or more, got {weight:g}")
    return Part(loss, tuple(wrappers), options, weight)


def _weight() -> "OptionInfo":
    return mentorch.losses.OptionInfo("weight", float, 1.0, "of the loss, instead of the published one.")


def check_wrapper(wrapper: str, loss: str) -> None:
    """Refuse a wrapper that does not go around a loss.

    Raises:
        UsageError: if there is no such wrapper, or it does not.
    """
    if wrapper not in WRAPPERS:
        raise unknown("wrapper", wrapper, WRAPPERS)
    fitting = [name for name in known() if wraps(wrapper, name)]
    if loss not in fitting:
        raise UsageError(f"{wrapper} goes around {', '.join(fitting)}, not {loss}")


def wrapper(name: str) -> Callable[..., Any]:
    """The function that makes one loss of another."""
    found: Callable[..., Any] = getattr(mentorch.losses, name)
    return found


def wraps(wrapper: str, loss: str) -> bool:
    """Whether a wrapper goes around a loss."""
    info = mentorch.losses.catalogue().get(loss)
    # where_correct selects samples, so there must be a value for each
    return info is not None and info.reads == "logits" and not (wrapper == "where_correct" and info.kind == "batch")


def check_settings(settings: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """What was set, ``{"temperature": "4", "dkd.beta": 2}``, with values of the right type.

    A name alone is for every loss that has such an option, if it means the same to all: the same default.

    Raises:
        UsageError: for an option that none of the losses has, one that means several things, or a value that does not
            fit.
    """
    return {key: _setting(key, raw, parts) for key, raw in settings.items()}


def _setting(key: str, raw: Any, parts: Sequence[Part]) -> Any:
    target, _, name = key.rpartition(".")
    about = [part for part in parts if not target or target in part.names]
    if not about:
        raise unknown("loss in --set", target, {name for part in parts for name in part.names} - {SCRATCH})
    having = [part for part in about if name in options_of(part.loss)]
    if not having:
        names = sorted({part.loss for part in about} - {SCRATCH}) or [SCRATCH]
        raise _no_option(name, names, {option for loss in names for option in options_of(loss)})
    if all(name in part.options for part in having):
        raise UsageError(f"{key} has no effect: the methods with {' and '.join(part.name for part in having)} say it")
    defaults = {part.loss: options_of(part.loss)[name].default for part in having}
    if not target and len(set(defaults.values())) > 1:
        each = ", ".join(f"{default} in {loss}" for loss, default in sorted(defaults.items()))
        raise UsageError(f"{name} means several things, by default {each}: say whose, as {having[0].name}.{name}={raw}")
    values = [value(key, options_of(part.loss)[name], raw) for part in having]
    return values[0]


def _no_option(name: str, of: Sequence[str], available: Iterable[str]) -> UsageError:
    having = [loss for loss in known() if name in options_of(loss)]
    if having:
        return UsageError(f"{name} has no effect with methods {', '.join(of)} (only {', '.join(having)})")
    return unknown(f"option of {', '.join(of)}", name, available)


def value(where: str, option: "OptionInfo", raw: Any) -> Any:
    """What a word stands for, as the type of an option.

    >>> value("kd.temperature", options_of("kd")["temperature"], "4")
    4.0

    Raises:
        UsageError: naming the option, if it cannot be that.
    """
    text = str(raw).strip()
    if option.choices:
        if text not in option.choices:
            raise unknown(f"value of {where}", text, option.choices)
        return text
    if option.default is None and (raw is None or text == "none"):
        return None
    kind, read = _READERS[option.type]
    try:
        return read(raw if option.type is tuple and isinstance(raw, list | tuple) else text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{where} is {kind}, got {text!r}") from error


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _numbers(raw: str | Sequence[Any]) -> list[float]:
    return [_number(str(part)) for part in (raw.split(";") if isinstance(raw, str) else raw)]


_READERS: Mapping[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("true or false", lambda text: _SWITCH[text.lower()]),
    int: ("a whole number", int),
    float: ("a number", _number),
    tuple: ("numbers with ; between them", _numbers),
}
