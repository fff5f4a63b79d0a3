"""The smaller network from what its builder makes, without the large weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.structure._slim import Shapes, shapes_of, with_attributes
from mentorch.structure._split import SCHEMA, shapes_hash, unsaved
from mentorch.structure._trace import with_tensors


def resize(network: nn.Module, recipe: Mapping[str, Any]) -> nn.Module:
    """A smaller network from what its builder made and the recipe of a split: shapes, not yet the weights.

    Tensors whose shape changes draw their values from those that the builder gave them, and weights of convolutions and
    linear layers are scaled by sqrt(fan_in before / fan_in now): a network that is trained from here begins by its
    builder's law, exactly so where this is a variance ~ 1 / fan_in. Everything else is copied, and a buffer that no
    state dict holds keeps the values of its channels.

    ``network`` may lie on the meta device, where it takes no memory: the result then lies on the CPU, its layers drawn
    by the law of their class.

    Args:
        network: as its builder makes it, with any weights.
        recipe: of `Split.recipe`, as it went through JSON or not.

    Raises:
        UsageError: if a buffer that no state dict holds lies on the meta device.
        RunError: if the recipe is damaged, was made for another network, or does not say what a buffer keeps.
    """
    shapes, taken = _read(network, recipe)
    fixed = unsaved(network)
    scaled = {
        f"{path}.weight".strip(".")
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    }

    def make(name: str, tensor: Tensor) -> Tensor:
        shape = shapes.get(name, tuple(tensor.shape))
        if name in fixed:
            return _kept(name, tensor, shape, taken)
        if tensor.is_meta:
            return torch.zeros(shape, dtype=tensor.dtype, device="cpu")
        if shape == tuple(tensor.shape):
            return tensor.detach().clone()
        return _drawn(tensor.detach(), shape, scaled=name in scaled)

    try:
        small = with_attributes(with_tensors(network, make), recipe["attributes"])
    except (RuntimeError, MemoryError) as error:  # sizes beyond all memory
        raise RunError(f"the recipe of a smaller network is damaged: {str(error).partition(chr(10))[0]}") from error
    for path, module in small.named_modules():
        own = next(network.get_submodule(path).parameters(recurse=False), None)
        if callable(redraw := getattr(module, "reset_parameters", None)) and own is not None and own.is_meta:
            redraw()
    return small


def _drawn(values: Tensor, shape: tuple[int, ...], *, scaled: bool) -> Tensor:
    """As many of ``values``, at random."""
    chosen = torch.randint(values.numel(), shape, device=values.device)
    drawn = values.flatten()[chosen]
    return drawn * (values[0].numel() / drawn[0].numel()) ** 0.5 if scaled else drawn


def _kept(name: str, tensor: Tensor, shape: tuple[int, ...], taken: Mapping[str, Any]) -> Tensor:
    """What a buffer that no state dict holds keeps of its values."""
    if tensor.is_meta:
        raise UsageError(f"{name!r} is in no state dict, and has no values on the meta device: build on the CPU")
    if name not in taken and shape != tuple(tensor.shape):
        raise RunError(
            f"the recipe does not say which values {name!r} keeps, which is in no state dict: persistent=True"
        )
    result = tensor.detach().clone()
    for dim, kept in enumerate(taken.get(name, ())):
        if kept is not None:
            result = result.index_select(dim, torch.tensor(kept, device=tensor.device))
    return result


def _read(network: nn.Module, recipe: Mapping[str, Any]) -> tuple[Shapes, Mapping[str, Any]]:
    """Shapes that change, and what is taken along the dimensions of a buffer, if anything.

    Raises:
        RunError: if the recipe is damaged, or was made for another network.
    """
    if not isinstance(recipe, Mapping) or recipe.get("schema") != SCHEMA:
        raise RunError(f"this is no recipe of a smaller network: its schema is not {SCHEMA!r}")
    given = [recipe.get(part, {}) for part in ("shapes", "attributes", "taken")]
    if not all(isinstance(part, Mapping) for part in given) or not {"shapes", "attributes", "network"} <= recipe.keys():
        raise RunError("the recipe of a smaller network is damaged: it needs a network, shapes and attributes")
    own = shapes_of(network)
    if shapes_hash(own) != recipe["network"]:
        raise RunError(f"the recipe is of another network than this {type(network).__name__}: names or shapes differ")
    shapes, attributes, taken = given
    damaged = (
        *(name for name, shape in shapes.items() if not _fits(shape, own.get(name))),
        *(path for path, values in attributes.items() if not _counted(network, path, values)),
        *(name for name, kept in taken.items() if not _inside(kept, own.get(name), shapes.get(name))),
    )
    if damaged:
        raise RunError(f"the recipe of a smaller network is damaged where it speaks of {damaged[0]!r}")
    return {name: tuple(shape) for name, shape in shapes.items()}, taken


def _fits(shape: Any, own: tuple[int, ...] | None) -> bool:
    """Whether it can be the shape of a tensor that the builder gave the shape ``own``."""
    return (
        own is not None
        and isinstance(shape, list | tuple)
        and len(shape) == len(own)
        and all(type(size) is int and 0 < size < 2**31 for size in shape)
    )


def _counted(network: nn.Module, path: Any, values: Any) -> bool:
    """Whether a module has these attributes, and all are whole numbers."""
    module = dict(network.named_modules()).get(path)
    return (
        module is not None
        and isinstance(values, Mapping)
        and all(type(value) is int and value >= 0 for value in values.values())
        and all(type(vars(module).get(name)) is int for name in values)
    )


def _inside(taken: Any, own: tuple[int, ...] | None, shape: Any) -> bool:
    """Whether indices along every dimension of a tensor lead to its new shape."""
    if own is None or shape is None or not isinstance(taken, list | tuple) or len(taken) != len(own):
        return False
    return all(
        size == before if kept is None else _indices(kept, before) and len(kept) == size
        for kept, before, size in zip(taken, own, shape, strict=True)
    )


def _indices(kept: Any, size: int) -> bool:
    return isinstance(kept, list | tuple) and all(type(i) is int and 0 <= i < size for i in kept)
