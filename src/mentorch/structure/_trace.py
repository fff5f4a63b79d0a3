"""Run a network on channel numbers instead of pixels, and see where each channel goes.

Every element of the tensors that flow is the number of the channel it belongs to. Whatever only moves elements (views,
slices, concatenation, channel shuffle, ...) is simply executed, and is right by construction; what computes with them
has a rule in `_operations`. Nothing else needs to know about the network's code, and no value is computed.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from mentorch._errors import MentorchError, UsageError
from mentorch.structure._numbers import Numbered, compact, number, plain
from mentorch.structure._operations import LAYERS, TENSORS
from mentorch.structure._spaces import INPUT, OUTPUT, Place
from mentorch.structure._ties import Ties, distinct

_SPELLINGS = {"axis": "dim", "keepdims": "keepdim"}  # torch takes both


@dataclass
class Seen:
    """The channels along one dimension of one tensor, in ``groups`` equal runs that never meet."""

    numbers: Tensor
    groups: int = 1


class Trace(TorchFunctionMode):
    """What one forward pass on channel numbers has shown.

    Args:
        network: its skeleton (see `skeleton`).
        sizes: sizes that differ from the network's own, along dimensions that create channels. This is how a smaller
            network is traced before it exists.
    """

    def __init__(self, network: nn.Module, sizes: Mapping[Place, int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.sizes = sizes or {}
        self.ties = Ties()
        self.places: dict[Place, Seen] = {}
        self.creators: list[Place] = []
        self.loose: dict[str, Tensor] = {}
        self.layers: dict[str, int] = {}
        self.attributes: dict[str, dict[str, int]] = {}
        self.pins: list[tuple[Tensor, str]] = []
        self.reached: set[str] = set()
        self.stack: list[str] = []
        tensors = [*network.named_parameters(), *network.named_buffers()]
        self.names = {id(tensor): name for name, tensor in tensors if tensor.is_floating_point()}

    def run(self, example: Any) -> None:
        """One forward pass; inputs and outputs are pinned."""
        hooks = []
        for name, module in self.network.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._enter, name), prepend=True))
            hooks.append(module.register_forward_hook(self._leave))
        inputs = tree_map(lambda leaf: self._input(leaf) if isinstance(leaf, Tensor) else leaf, example)
        try:
            with torch.no_grad(), self:
                outputs = self.network(*inputs) if isinstance(inputs, tuple) else self.network(inputs)
        except MentorchError:
            raise
        except Exception as error:
            message = str(error).strip().partition("\n")[0]
            raise UsageError(f"{self.where} cannot be traced: {message}") from error
        finally:
            for hook in hooks:
                hook.remove()
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Numbered):
                self.pin(leaf, OUTPUT)

    @property
    def where(self) -> str:
        """The module that is running, as an error names it."""
        return f"module {self.stack[-1]!r}" if self.stack and self.stack[-1] else type(self.network).__name__

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves, spec = tree_flatten((args, kwargs))
        known = [self.names[id(leaf)] for leaf in leaves if isinstance(leaf, Tensor) and id(leaf) in self.names]
        if not known and not any(isinstance(leaf, Numbered) for leaf in leaves):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func)).strip("_")  # relu_ and __add__ are relu and add
        if name == "get" and not isinstance(args[0], Numbered):
            return func(*args, **kwargs)  # a parameter's shape, device, ... is not a use of its values
        self.reached.update(known)
        if rule := LAYERS.get(name):
            given = ("query", "key", "value") if name.startswith("multi_head") else ("input",)
            args = (*(self._enter_layer(x) for x in args[: len(given)]), *args[len(given) :])
            kwargs = {key: self._enter_layer(x) if key in given else x for key, x in kwargs.items()}
            return rule(self, func, *args, **kwargs)
        leaves = [self._number(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(leaves, spec)
        if not any(isinstance(leaf, Numbered) for leaf in leaves):
            return func(*args, **kwargs)  # of constants
        kwargs = {_SPELLINGS.get(key, key): value for key, value in kwargs.items()}
        if rule := TENSORS.get(name):
            return rule(self, func, *args, **kwargs)
        raise UsageError(f"{self.where} calls {name}, of which no rule says what it does to channels")

    def pin(self, numbers: Tensor, reason: str) -> None:
        """Nobody may cut these channels."""
        values = [value for value in distinct(compact(numbers)[0]) if value >= 0]
        self.pins.append((torch.tensor(values, dtype=torch.long), reason))

    def name(self, tensor: Tensor | None, use: str) -> str:
        """The name of a parameter or buffer.

        Raises:
            UsageError: if ``tensor`` was computed from parameters.
        """
        if tensor is None or id(tensor) not in self.names:
            raise UsageError(f"{self.where} computes the {use} of a layer from other tensors: it cannot be cut")
        return self.names[id(tensor)]

    def along(self, x: Tensor, dim: int) -> Tensor:
        """The channels along ``dim`` of ``x``, shape `[x.shape[dim]]`; what shares an index there is tied."""
        size = x.shape[dim]
        rows = compact(x)[0].movedim(dim, 0).long()
        rows = rows.reshape(len(rows), -1)
        first = rows.amax(1)
        self.ties.tie(rows, first[:, None].expand_as(rows))
        first = first.expand(size).clone()
        if bool((missing := first < 0).any()):
            first[missing] = constant = self.ties.fresh(int(missing.sum()))
            self.pin(constant, f"a constant in {self.where}")
        return first

    def note(self, tensor: Tensor | str | None, dim: int, numbers: Tensor, groups: int = 1) -> None:
        """These channels lie along ``dim`` of ``tensor``; a tensor that is used twice ties them."""
        if tensor is None:
            return
        place = (tensor if isinstance(tensor, str) else self.name(tensor, "parameters"), dim)
        numbers = numbers.long()
        if place in self.places:
            self.ties.tie(self.places[place].numbers, numbers)
        else:
            self.places[place] = Seen(numbers, groups)

    def create(self, tensor: Tensor | str, dim: int, size: int, groups: int = 1) -> Tensor:
        """New channels, made along ``dim`` of ``tensor``, that has ``size`` unless a smaller network is traced."""
        place = (tensor if isinstance(tensor, str) else self.name(tensor, "weight"), dim)
        numbers = self.ties.fresh(self.sizes.get(place, size))
        if place not in self.creators:
            self.creators.append(place)
        self.note(place[0], dim, numbers, groups)
        return numbers

    def numbered(self, numbers: Tensor, shape: Iterable[int], dim: int) -> Tensor:
        """A tensor of ``shape`` whose channels along ``dim`` are ``numbers``."""
        shape = list(shape)
        view = [1] * len(shape)
        view[dim] = len(numbers)
        shape[dim] = len(numbers)
        return number(numbers.double().view(view).expand(shape))

    def _number(self, tensor: Tensor) -> Tensor:
        """A parameter or buffer that is used like an activation, as channel numbers: one per element."""
        name = self.names.get(id(tensor))
        if name is None:
            return tensor
        if tensor.numel() == 1:
            return torch.ones(tensor.shape, dtype=tensor.dtype)
        if name not in self.loose:
            shape = [self.sizes.get((name, dim), size) for dim, size in enumerate(tensor.shape)]
            count = torch.Size(shape).numel()
            self.loose[name] = self.ties.fresh(count).double().view(shape)
        return number(self.loose[name])

    def _enter_layer(self, x: Any) -> Any:
        """What a layer reads: channel numbers, also where it is a parameter, a buffer or a constant."""
        return number(plain(self._number(x))) if isinstance(x, Tensor) and not isinstance(x, Numbered) else x

    def _input(self, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        dim = 1 if tensor.ndim > 1 else 0
        count = sum(name.startswith("input") and name.endswith(":") for name, _ in self.creators)
        numbers = self.create(f"input{count + 1 if count else ''}:", dim, tensor.shape[dim])
        self.pin(numbers, INPUT)
        return self.numbered(numbers, tensor.shape, dim)

    def _enter(self, name: str, module: nn.Module, args: Any) -> None:
        self.stack.append(name)
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and args:
            # it compares its input with what it says of itself, which the trace of a smaller network makes wrong
            unbatched = module._get_no_batch_dim()  # type: ignore[no-untyped-call]
            module.num_features = channels = args[0].shape[args[0].ndim - unbatched]
            self.attributes[name] = {"num_features": channels}

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()


def skeleton(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in evaluation mode whose floating-point tensors have shapes but no memory.

    Integer tensors, which a forward pass may use as indices, stay real.
    """
    return with_tensors(
        network, lambda name, x: torch.empty_like(x, device="meta") if x.is_floating_point() else x.detach().cpu()
    ).eval()


def with_tensors(network: nn.Module, make: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A copy of ``network`` with the tensors that ``make`` returns for its own, and without hooks.

    Nothing else that is large is copied, and shared tensors stay shared.

    Raises:
        UsageError: if the network holds something that cannot be copied, such as a result with a gradient history, or
            waits for its first call to know a shape.
    """
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise UsageError(f"{name!r} has no shape yet: call the network once on an example")
    memo: dict[int, Any] = {}
    for name, parameter in network.named_parameters():
        memo[id(parameter)] = nn.Parameter(make(name, parameter), requires_grad=parameter.requires_grad)
    for name, buffer in network.named_buffers():
        memo[id(buffer)] = make(name, buffer)
    try:
        clone = copy.deepcopy(network, memo)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"{type(network).__name__} cannot be copied: {str(error).partition(chr(10))[0]}") from error
    for module in clone.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
    return clone
