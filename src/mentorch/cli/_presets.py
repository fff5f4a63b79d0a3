"""Graphs by the name of the method that draws them: ``preset: mutual``, ``preset: {chain: {gate: linear_up}}``."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from mentorch import gates, methods
from mentorch._edge import Loss
from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph, View
from mentorch.cli._training import example
from mentorch.data import Dataset

Spec = str | Mapping[str, Mapping[str, Any]]

PRESETS: Mapping[str, Callable[..., Graph]] = {
    method.__name__: method
    for method in (
        methods.independent,
        methods.mutual,
        methods.full,
        methods.chain,
        methods.from_matrix,
        methods.distill,
    )
}
# what the recipe says elsewhere: the nodes, what they see of the inputs, and the data
_ELSEWHERE = ("networks", "student", "teacher", "views", "example", "samples", "places")


def read(
    spec: Spec, loss: Callable[[Any], Loss], views: Mapping[str, View], data: Dataset
) -> Callable[[dict[str, nn.Module]], Graph]:
    """A preset with its options, as a function of the networks.

    Args:
        spec: ``name`` or ``{name: {option: value}}``; the options are the method's own.
        loss: reads a loss.
        views: what the nodes see of the inputs.
        data: what the graph will learn from.

    Raises:
        UsageError: for another form, and for a name, an option or a value that does not exist.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if len(spec) != 1:
        raise UsageError(f"a preset is written 'name' or '{{name: {{option: value}}}}', got {dict(spec)}")
    ((name, options),) = spec.items()
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    known = [option for option in inspect.signature(PRESETS[name]).parameters if option not in _ELSEWHERE]
    for option in options:
        if option not in known:
            raise unknown(f"option of preset {name!r}", option, known)
    values = {option: _value(f"{option} of preset {name!r}", option, raw, loss) for option, raw in options.items()}
    values |= {"views": views, "example": example(data)}
    if name == "distill":
        return functools.partial(_distill, samples=int(data.train.index.max()) + 1, **values)
    if name == "from_matrix" and "gates" not in values:
        raise UsageError("preset from_matrix needs its gates, a row for each node")
    return functools.partial(PRESETS[name], **values)


def _distill(nodes: dict[str, nn.Module], *, losses: Sequence[Loss] = (), **options: Any) -> Graph:
    if set(nodes) != {"student", "teacher"}:
        raise UsageError(f"preset distill needs the nodes student and teacher, got {', '.join(nodes)}")
    return methods.distill(nodes["student"], nodes["teacher"], *losses, **options)


def _value(what: str, option: str, raw: Any, loss: Callable[[Any], Loss]) -> Any:
    """The value of an option, from plain data."""
    if option == "loss":
        return loss(raw)
    if option == "losses":
        return [loss(each) for each in (raw if isinstance(raw, list) else [raw])]
    if option == "average":
        if not isinstance(raw, bool):
            raise UsageError(f"{what} is true or false, got {raw!r}")
        return raw
    if option == "gates":
        if not isinstance(raw, list) or not all(isinstance(row, list) for row in raw):
            raise UsageError(f"{what} are rows of gates, got {raw!r}")
        return [[_gate(entry) for entry in row] for row in raw]
    if option == "pair":
        return raw if isinstance(raw, str) else [tuple(pair) for pair in raw]
    return _gate(raw)


def _gate(raw: Any) -> Any:
    """A gate of the knowledge transfer graph by name, or any other."""
    return raw if isinstance(raw, str) and raw in methods.GATES else gates.from_data(raw)
