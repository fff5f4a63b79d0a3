"""From what a builder makes to another network of the same modules, as plain values."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mentorch._errors import UsageError
from mentorch.structure._slim import shapes_of
from mentorch.structure._split import SCHEMA, shapes_hash, unsaved


def recipe_between(made: nn.Module, network: nn.Module) -> dict[str, Any]:
    """The recipe with which `resize` gives what a builder made the shapes of another network.

    For networks that went through several steps, or that were merged: one recipe for all of it, as
    :class:`mentorch.zoo.Card` keeps them.

    Args:
        made: by the builder; on the meta device or not.
        network: with the same modules, narrower or wider.

    Raises:
        UsageError: if the modules or the names of tensors differ, or the shape of a buffer that no state dict holds.

    >>> from mentorch.structure import resize
    >>> made, wide = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 7))
    >>> resize(made, recipe_between(made, wide))
    Sequential(
      (0): Linear(in_features=2, out_features=7, bias=True)
    )
    """
    own, wanted = shapes_of(made), shapes_of(network)
    modules, others = dict(made.named_modules()), dict(network.named_modules())
    if own.keys() != wanted.keys() or modules.keys() != others.keys():
        name = sorted((own.keys() ^ wanted.keys()) | (modules.keys() ^ others.keys()))[0]
        raise UsageError(f"one network cannot be made into the other: only one of them has {name!r}")
    if lost := sorted(name for name in unsaved(network) if own[name] != wanted[name]):
        raise UsageError(f"{lost[0]!r} has another shape and is in no state dict: its values would be lost")
    attributes = {path: _numbers(vars(module), vars(others[path])) for path, module in modules.items()}
    return {
        "schema": SCHEMA,
        "network": shapes_hash(own),
        "shapes": {name: list(shape) for name, shape in wanted.items() if shape != own[name]},
        "attributes": {path: values for path, values in attributes.items() if values},
    }


def _numbers(made: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, int]:
    """The whole numbers that a module says about itself and that differ."""
    return {
        name: value
        for name, value in other.items()
        if isinstance(value, int) and not isinstance(value, bool) and made.get(name, value) != value
    }
