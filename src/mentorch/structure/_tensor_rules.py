"""What operations on activations do to channels: tie them, move them, or leave them alone."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mentorch._errors import UsageError
from mentorch.structure._layer_rules import blank
from mentorch.structure._numbers import Numbered, compact, number, plain

if TYPE_CHECKING:
    from mentorch.structure._operations import Rule
    from mentorch.structure._trace import Trace

HEADS = ":heads"  # no tensor: the heads of the attention in a module, along dimension 0
HEAD_COUNTS = ("heads", "num_heads", "num_attention_heads")  # attributes of a module that counts its heads


def softmax(trace: "Trace", func: "Rule", input: Tensor, dim: Any = None, *args: Any, **named: Any) -> Tensor:  # noqa: A002
    if dim is None or not _constant(trace, input, [int(dim)]):
        trace.pin(input, f"normalised together with others by {trace.where}")
    return input


def attention(trace: "Trace", func: "Rule", query: Tensor, key: Tensor, value: Tensor, *args: Any, **named: Any) -> Any:
    """All that one head computes is tied: heads are cut whole."""
    weights = product(trace, func, query, number(key.transpose(-2, -1)))
    return product(trace, func, weights, value)


def product(trace: "Trace", func: "Rule", first: Tensor, second: Tensor) -> Tensor:
    """A matrix product of activations: what is summed over is tied, and so are the two factors of each result."""
    if not isinstance(first, Numbered) or not isinstance(second, Numbered) or min(first.ndim, second.ndim) < 2:
        raise UsageError(f"{trace.where} multiplies channels with a matrix that is no parameter of a layer")
    left = _tied(trace, first, -1)
    right = _tied(trace, second, -2)
    shape = (*_broadcast(first.shape[:-2], second.shape[:-2]), first.shape[-2], second.shape[-1])
    result = pair(trace, func, number(left.expand(shape)), number(right.expand(shape)))
    module = trace.network.get_submodule(trace.stack[-1])
    if len(shape) > 2 and any(getattr(module, name, None) == shape[-3] for name in HEAD_COUNTS):
        trace.note(f"{trace.stack[-1]}{HEADS}", 0, trace.along(result, -3))
    else:
        trace.pin(result, f"multiplied by {trace.where}, which does not say how many heads it has: num_heads")
    return result


def pair(trace: "Trace", func: "Rule", *args: Any, **named: Any) -> Tensor:
    """What meets is tied; what is one channel for all of several that differ stays, and ties none of them."""
    tensors = [leaf for leaf in (*args, *named.values()) if isinstance(leaf, Tensor)]
    shape = _broadcast(*(x.shape for x in tensors))
    numbered = [x.view(*[1] * (len(shape) - x.ndim), *x.shape) for x in tensors if isinstance(x, Numbered)]
    shared = [x for x in numbered if any(_shared(trace, x, dim, numbered) for dim in range(len(shape)))]
    for x in shared:
        trace.pin(x, f"one for all channels in {trace.where}")
    parts = compact(*(number(x).expand(shape) for x in numbered if not any(x is other for other in shared)))
    if not parts:  # an outer product: nothing of it is cut
        return number(torch.full((), -1.0, dtype=torch.float64).expand(shape))
    result = parts[0]
    for part in parts[1:]:
        trace.ties.tie(result, part)
        result = torch.where(result >= 0, result, part)
    return number(result.expand(shape))


def _shared(trace: "Trace", x: Tensor, dim: int, others: Iterable[Tensor]) -> bool:
    """Whether ``x`` is one along ``dim``, where another has different channels."""
    return x.shape[dim] == 1 and any(y.shape[dim] > 1 and not _constant(trace, y, [dim]) for y in others)


def gated(trace: "Trace", func: "Rule", input: Tensor, dim: int = -1) -> Tensor:  # noqa: A002
    """One half times a function of the other."""
    return pair(trace, func, *(number(half) for half in plain(input).chunk(2, dim)))


def move(trace: "Trace", func: "Rule", *args: Any, **named: Any) -> Any:
    """Executed as it is; constants that come along are no channels."""

    def enter(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        return plain(leaf)

    name = func.__name__.strip("_")
    if name in ("view", "view_as"):  # numbers repeat themselves in memory, and cannot always be viewed
        shape = args[1].shape if name == "view_as" else args[1:]
        return args[0] if isinstance(shape[0], torch.dtype) else number(plain(args[0]).reshape(*shape))
    result = func(*tree_map(enter, args), **tree_map(enter, named))
    return tree_map(lambda leaf: number(leaf) if isinstance(leaf, Tensor) else leaf, result)


def concatenate(trace: "Trace", func: "Rule", tensors: Any, dim: int = 0) -> Tensor:
    parts = [plain(x) for x in tensors]
    shape = list(parts[0].shape)
    shape[dim] = sum(x.shape[dim] for x in parts)
    repeated = [d for d in range(len(shape)) if d != dim % len(shape) and all(x.stride(d) == 0 for x in parts)]
    for d in repeated:
        parts = [x.narrow(d, 0, 1) for x in parts]
    return number(torch.cat(parts, dim).expand(shape))


def pad_channels(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    pad: Any,
    mode: str = "constant",
    value: Any = None,
) -> Tensor:
    """Padding positions adds nothing; padding channels makes new ones, which are zero until something is added.

    Fewer of them fit a smaller network where their numbers are attributes of the module, ``before`` and ``after``.
    """
    before, after = (
        (pad[2 * (input.ndim - 2)], pad[2 * (input.ndim - 2) + 1]) if len(pad) > 2 * (input.ndim - 2) else (0, 0)
    )
    if input.ndim < 3 or before + after == 0:
        fill = {"value": -1.0} if mode == "constant" else {}
        return number(func(plain(input), pad, mode, **fill))
    path = trace.stack[-1]
    own = vars(trace.network.get_submodule(path))
    if (own.get("before"), own.get("after")) == (before, after):
        created = trace.create(f"{path}:pad", 0, before + after)
        first = len(created) * before // (before + after)
        trace.attributes[path] = {"before": first, "after": len(created) - first}
    else:
        created, first = trace.ties.fresh(before + after), before
        trace.pin(created, f"padded by {trace.where}, which does not say with how many: before, after")
    channels = torch.cat([created[:first], trace.along(input, 1), created[first:]])
    shape = func(blank(input), pad[: 2 * (input.ndim - 2)], mode).shape
    return trace.numbered(channels, (input.shape[0], 1, *shape[2:]), 1)


def pool(trace: "Trace", func: "Rule", input: Tensor, *args: Any, **named: Any) -> Any:  # noqa: A002
    shape = func(blank(input), *args, **named).shape
    return trace.numbered(trace.along(input, 1), (input.shape[0], 1, *shape[2:]), 1)


def pool_with_places(trace: "Trace", func: "Rule", input: Tensor, *args: Any, **named: Any) -> Any:  # noqa: A002
    """The places are those of a channel, too."""
    shape = func(blank(input), *args, **named)[0].shape
    pooled = trace.numbered(trace.along(input, 1), (input.shape[0], 1, *shape[2:]), 1)
    return pooled, pooled


def unpool(trace: "Trace", func: "Rule", input: Tensor, indices: Tensor, *args: Any, **named: Any) -> Tensor:  # noqa: A002
    values = pair(trace, func, input, indices)
    shape = func(blank(input), blank(input).long(), *args, **named).shape
    return trace.numbered(trace.along(values, 1), (input.shape[0], 1, *shape[2:]), 1)


def scatter(trace: "Trace", func: "Rule", input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:  # noqa: A002
    """Values put elsewhere along a dimension, where all places belong to one channel."""
    moved = pair(trace, func, *(number(plain(x)) for x in (index, src) if isinstance(x, Tensor)))
    if not _constant(trace, moved, [dim]):
        trace.pin(moved, f"moved among others by {trace.where}")
    shape = list(moved.shape)
    shape[dim] = input.shape[dim]
    return pair(trace, func, number(moved.narrow(dim, 0, 1).expand(shape)), input)


def reduce(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    dim: Any = None,
    keepdim: bool = False,
    **named: Any,
) -> Tensor:
    dims = [dim] if isinstance(dim, int) else list(dim or range(input.ndim))
    if not _constant(trace, input, dims):
        trace.pin(input, f"summed over by {trace.where}")
    return number(trace.ties.roots(input).double().amax(dims, keepdim))


def spread(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    **named: Any,
) -> Tensor:
    return reduce(trace, func, input, None if isinstance(dim, bool) else dim, keepdim)  # x.std(False): all, biased


def norm(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    p: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    **named: Any,
) -> Tensor:
    return reduce(trace, func, input, dim, keepdim)


def same(trace: "Trace", func: "Rule", input: Tensor, *args: Any, **named: Any) -> Tensor:  # noqa: A002
    return input


def ask(trace: "Trace", func: "Rule", *args: Any, **named: Any) -> Any:
    return func(*args, **named)


def _tied(trace: "Trace", x: Tensor, dim: int) -> Tensor:
    """``x`` with everything along ``dim`` tied, and that dimension of size 1."""
    small = compact(x)[0]
    first = small.amax(dim, keepdim=True)
    trace.ties.tie(small, first.expand_as(small))
    shape = list(x.shape)
    shape[dim] = 1
    return number(first.expand(shape))


def _constant(trace: "Trace", x: Tensor, dims: Iterable[int]) -> bool:
    """Whether the channel is the same everywhere along ``dims``."""
    roots = trace.ties.roots(compact(x)[0])
    return all(bool((roots == roots.narrow(dim, 0, 1)).all()) for dim in dims)


def _broadcast(*shapes: torch.Size) -> torch.Size:
    result: torch.Size = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    return result
