"""What a function, a module or an object does, in words that are the same in every process."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from types import CellType, CodeType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._edge import without_addresses
from mentorch.networks import hash_tensors

_BARE = nn.Module()
_OF_FREEZE = ("_precision", "_forward_as_built")


def described(thing: Any, within: tuple[int, ...] = (), objects: bool = True) -> str:
    """How something prints, with the options that it does not print.

    These are the attributes of modules (what they learned is none), the object of a method with its attributes, the
    values of tensors, and the code of functions that have no name.

    >>> described(functools.partial(nn.functional.mse_loss, reduction="none"))
    "mse_loss(reduction='none')"
    """
    if id(thing) in within:
        return type(thing).__name__
    inner = functools.partial(described, within=(*within, id(thing)), objects=objects)
    if isinstance(thing, functools.partial):
        return _called(inner(thing.func), thing.args, thing.keywords, inner)
    if hasattr(thing, "__qualname__"):
        owner = getattr(thing, "__self__", None)
        alone = owner is None or isinstance(owner, type | ModuleType)
        return f"{thing.__qualname__}{_code(thing)}" + ("" if alone else f" of {inner(owner)}")
    if isinstance(thing, nn.Module):
        attributes = [f"{path}={inner(value, objects=False)}" for path, value in _attributes(thing)]
        return without_addresses(repr(thing)) + (f" with {', '.join(attributes)}" if attributes else "")
    if isinstance(thing, Tensor):
        return _tensor(thing)
    if type(thing) in (list, tuple, dict, set, frozenset):
        return _container(thing, inner)
    if dataclasses.is_dataclass(thing):
        fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        return _called(type(thing).__qualname__, (), fields, inner)
    kind: Any = type(thing)
    if kind.__repr__ is object.__repr__:
        options = getattr(thing, "__dict__", {}) if objects else {}
        return _called(kind.__qualname__, (), options, functools.partial(inner, objects=False))
    if hasattr(thing, "tobytes") and hasattr(thing, "dtype") and thing.shape:  # an array prints in part only
        return f"{thing.dtype} {list(thing.shape)} {hashlib.sha256(thing.tobytes()).hexdigest()[:16]}"
    return without_addresses(repr(thing))


def _called(name: str, args: Any, options: dict[str, Any], words: Callable[[Any], str]) -> str:
    return f"{name}({', '.join([*map(words, args), *(f'{key}={words(item)}' for key, item in options.items())])})"


def _container(thing: Any, words: Callable[[Any], str]) -> str:
    """As it prints; a set in one order, which it has not from one process to the next."""
    if isinstance(thing, dict):
        return f"{{{', '.join(f'{key!r}: {words(item)}' for key, item in thing.items())}}}"
    if isinstance(thing, set | frozenset):
        return f"{{{', '.join(sorted(map(words, thing)))}}}"
    inside = ", ".join(map(words, thing))
    return f"[{inside}]" if isinstance(thing, list) else f"({inside}{',' if len(thing) == 1 else ''})"


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module and its parts were given beside weights, buffers and other modules."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            # old weight_norm, spectral_norm and pruning make a tensor of two others in each pass
            made = any(hasattr(part, name + end) for end in ("_g", "_orig"))
            if not (made or hasattr(_BARE, name) or name in _OF_FREEZE):
                yield f"{path}.{name}".lstrip("."), value


def _tensor(tensor: Tensor) -> str:
    kind = type(tensor).__name__
    readable = type(tensor) is Tensor and tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
    return f"{kind} {hash_tensors({'': tensor})[:16]}" if readable else kind


def _code(function: Any) -> str:
    """Of a function that others may be called like: a hash of what it does, with the numbers and words it refers to."""
    code = getattr(function, "__code__", None)
    if code is None or not ("<lambda>" in function.__qualname__ or "<locals>" in function.__qualname__):
        return ""
    values = [
        value for cell in function.__closure__ or () if isinstance(value := _held(cell), int | float | str | tuple)
    ]
    text = without_addresses(repr((_does(code), values, function.__defaults__)))
    return f" {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _does(code: CodeType) -> tuple[Any, ...]:
    constants = [_does(c) if isinstance(c, CodeType) else described(c) for c in code.co_consts]
    return code.co_code, code.co_names, constants


def _held(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None
