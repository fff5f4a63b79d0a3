"""A network that is a list of calls of ATen operators, as `torch.export` leaves it: data, and no code."""

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._operators import find
from mentorch.networks._taps import Taps

_SWITCHES = ("training", "train", "use_input_stats")
_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "dtype": lambda name: _constant(name, torch.dtype),
    "format": lambda name: _constant(name, torch.memory_format),
    "number": float,  # that JSON does not have
}


def exported(*, num_classes: int, in_channels: int, program: Mapping[str, Any]) -> nn.Module:
    """The network of a program, with weights of zeros.

    A program is JSON: what it `reads` (``[C, H, W]``), how many `classes` it knows, the names of its `input` and
    `output`, its `tensors` (name -> [address in the state, shape, dtype, whether it is learned]), and its `calls` in
    order: `at` (an address), `operator`, `arguments`, `options`, and `result`, a name or a list of names. An argument
    is a value, a list of arguments, or one of ``{"of": NAME}``, ``{"dtype": NAME}``, ``{"format": NAME}``,
    ``{"number": "inf"}`` and ``{"device": null}``, that of the input. :func:`mentorch.zoo.from_pt2` writes them.

    Raises:
        UsageError: if it is something else, or calls what is not an operator on tensors in evaluation mode.
    """
    try:
        if (program["classes"], program["reads"][0]) != (num_classes, in_channels):
            raise UsageError(
                f"the exported program reads {program['reads'][0]} channels and knows {program['classes']} classes, "
                f"not {in_channels} and {num_classes}"
            )
        return _Exported(program)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"this is no exported program: {type(error).__name__} {error}") from error


class _Call(nn.Module):
    """One operator, at an address of its own, so that what enters and leaves it can be read."""

    def __init__(self, name: str, arguments: list[Any], options: Mapping[str, Any]) -> None:
        super().__init__()
        function = find(name)
        if isinstance(function, torch._ops.OpOverload):
            known = [argument.name for argument in function._schema.arguments]
            given = {**dict(zip(known, arguments, strict=False)), **options}
            if any(given.get(switch) is True for switch in _SWITCHES):
                raise UsageError(f"the program was exported in training mode ({name}): export network.eval()")
        self._operator = name

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return find(self._operator)(*arguments, **options)


class _Exported(nn.Module):
    """Images to logits, call by call; what is not needed again is forgotten."""

    def __init__(self, program: Mapping[str, Any]) -> None:
        super().__init__()
        self._program = program
        self._tensors = {name: operator.attrgetter(address) for name, (address, *_) in program["tensors"].items()}
        self._needs = [list(_needed([call["arguments"], list(call["options"].values())])) for call in program["calls"]]
        self._uses = Counter([program["output"]])
        given = {program["input"], *self._tensors}
        known = set(given)
        for call, needs in zip(program["calls"], self._needs, strict=True):
            if call["operator"].split(".")[1].endswith("_") and needs[:1] and needs[0] in given:
                raise UsageError(f"the program changes {needs[0]!r}, which is given to it: export network.eval()")
            self._holder(call["at"], _Call(call["operator"], call["arguments"], call["options"]))
            if missing := sorted(set(needs) - known):
                raise UsageError(f"the program calls {call['operator']} with {missing[0]!r} before it is there")
            self._uses.update(needs)
            known.update(_names(call["result"]))
        for address, shape, dtype, learned in program["tensors"].values():
            self._add(address, torch.zeros(shape, dtype=_constant(dtype, torch.dtype)), learned)
        if (found := _taps(program)) is not None:
            self.taps = found

    def forward(self, x: Tensor) -> Tensor:
        values: dict[str, Any] = {name: read(self) for name, read in self._tensors.items()}
        if not torch.is_grad_enabled():  # else views of parameters ask for gradients that they cannot have
            values = {name: value.detach() for name, value in values.items()}
        values[self._program["input"]] = x
        left = self._uses.copy()
        for call, needs in zip(self._program["calls"], self._needs, strict=True):
            arguments = [_value(each, values, x) for each in call["arguments"]]
            options = {key: _value(each, values, x) for key, each in call["options"].items()}
            result = self.get_submodule(call["at"])(*arguments, **options)
            names = _names(call["result"])
            values.update(zip(names, [result] if isinstance(call["result"], str) else result, strict=True))
            left.subtract(needs)
            for name in {*needs, *names}:
                if left[name] <= 0:
                    del values[name]
        output: Tensor = values[self._program["output"]]
        return output

    def _holder(self, path: str, module: nn.Module | None = None) -> nn.Module:
        """The module at a path, made on the way; ``module`` becomes its last one."""
        place: nn.Module = self
        *above, last = path.split(".")
        for name in above:
            if name not in place._modules:
                place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        if module is not None:
            if last in place._modules:
                raise UsageError(f"the program has two calls at {path!r}")
            place.add_module(last, module)
        return place

    def _add(self, address: str, value: Tensor, learned: bool) -> None:
        holder, name = self._holder(address), address.rpartition(".")[2]
        if learned:
            holder.register_parameter(name, nn.Parameter(value))
        else:
            holder.register_buffer(name, value)


def _value(argument: Any, values: Mapping[str, Any], x: Tensor) -> Any:
    if isinstance(argument, list):
        return [_value(each, values, x) for each in argument]
    if not isinstance(argument, Mapping):
        return argument
    ((kind, name),) = argument.items()
    if kind == "of":
        return values[name]
    return x.device if kind == "device" else _KINDS[kind](name)


def _needed(argument: Any) -> Iterator[str]:
    """Names that an argument refers to."""
    if isinstance(argument, list):
        for each in argument:
            yield from _needed(each)
    elif isinstance(argument, Mapping):
        ((kind, name),) = argument.items()
        if kind == "of":
            yield name
        elif kind != "device":
            _KINDS[kind](name)  # an error now and not when it runs


def _names(result: str | list[str]) -> list[str]:
    return [result] if isinstance(result, str) else result


def _constant(name: str, kind: type) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, kind):
        raise UsageError(f"the program names {name!r}, which is no {kind.__name__}")
    return found


def _taps(program: Mapping[str, Any]) -> Taps | None:
    """Where the embedding is: what enters the linear layer that makes the output, if one does."""
    calls = program["calls"]
    makers = {name: call for call in calls for name in _names(call["result"])}
    last = makers[program["output"]]
    stem = next(call["at"] for call in calls if not call["operator"].startswith(("aten.sym_", "size.")))  # no number
    if last["operator"] == "aten.linear.default":
        return Taps(stem, (), f"{last['at']}:in")
    if last["operator"] == "aten.addmm.default" and (before := makers.get(last["arguments"][1]["of"])) is not None:
        return Taps(stem, (), before["at"])
    return None
