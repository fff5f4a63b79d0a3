"""The smaller network, traced before it exists, and which channel of the large one each of its channels is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mentorch._errors import UsageError
from mentorch.structure._spaces import Axis, Place, Plan, Signature, signatures
from mentorch.structure._tensor_rules import HEAD_COUNTS, HEADS
from mentorch.structure._trace import Trace, skeleton

# attributes of a module that has heads: their number, or as many channels as all heads have
_PER_HEAD = (*HEAD_COUNTS, "attn_dim", "inner_dim", "all_head_size")
# how many of a class of channels that go the same way are kept -> which
Choose = Callable[[Sequence[int], int], Sequence[int]]


@dataclass(frozen=True)
class Fitted:
    """A network of smaller widths.

    Args:
        axes: channels along every dimension, in numbers of its own.
        attributes: what its modules keep as plain attributes.
    """

    axes: Mapping[Place, Axis]
    attributes: Mapping[str, Mapping[str, int]]


def axes_of(trace: Trace, loose: Mapping[str, int] | None = None) -> dict[Place, Axis]:
    """Channels (roots) along every dimension that a trace has seen.

    Args:
        trace: after its run.
        loose: for tensors used like activations (position embeddings, ...), the dimension that carries channels. If it
            is not given it is the only one along which channels differ; where there are several, all channels stay.
    """
    axes = {
        place: Axis(tuple(trace.ties.roots(seen.numbers).tolist()), seen.groups) for place, seen in trace.places.items()
    }
    for name, numbers in trace.loose.items():
        roots = trace.ties.roots(numbers)
        varying = [dim for dim in range(roots.ndim) if bool((roots != roots.narrow(dim, 0, 1)).any())]
        dims = varying if loose is None else [loose[name]] if name in loose else []
        if len(dims) == 1:
            axes[name, dims[0]] = Axis(tuple(_first(roots, dims[0]).tolist()))
        else:
            trace.pin(numbers, f"{name} has no single dimension of channels")
    return axes


def fit(plan: Plan, widths: Mapping[str, int]) -> Fitted:
    """Trace the network that has ``widths``, by name of the space.

    Raises:
        UsageError: if its code cannot run with these widths; the module is named.
    """
    bones = skeleton(plan._network)
    made: dict[str, dict[str, int]] = {}
    for place in plan.axes:
        if place[0].endswith(HEADS):
            path = place[0].removesuffix(HEADS)
            module, heads = bones.get_submodule(path), len(plan.axes[place].channels)
            own = {name: value for name in _PER_HEAD if isinstance(value := getattr(module, name, None), int)}
            made[path] = {name: value * plan.size(widths, place) // heads for name, value in own.items()}
            vars(module).update(made[path])
    trace = Trace(bones, {place: plan.size(widths, place) for place in plan.axes})
    trace.run(plan._example)
    axes = axes_of(trace, {name: dim for name, dim in plan.axes if name in trace.loose})
    return Fitted(axes, {**trace.attributes, **made})


def match(plan: Plan, fitted: Fitted, choose: Choose) -> dict[Place, tuple[int, ...]]:
    """For every dimension of the smaller network, the indices of the large one that it takes.

    A channel of the smaller network becomes one of the large network that goes exactly the same way: it lies in the
    same tensors, equally often, in the same groups. So both compute the same where what is left out is zero.

    Raises:
        UsageError: if the smaller network sends more channels some way than the large one does.
    """
    large, small = signatures(plan.axes), signatures(fitted.axes)
    partner: dict[int, int] = {}
    for signature, channels in small.items():
        candidates = large.get(signature, [])
        if len(candidates) < len(channels):
            raise UsageError(
                f"these widths do not fit together: {_named(signature)} needs {len(channels)} channels that go the "
                f"same way, the network has {len(candidates)}: choose another rate, or pin the module"
            )
        taken = sorted(choose(candidates, len(channels)))
        partner.update(zip(channels, taken, strict=True))
    return {place: _positions(plan.axes[place], axis, partner) for place, axis in fitted.axes.items()}


def _positions(large: Axis, small: Axis, partner: Mapping[int, int]) -> tuple[int, ...]:
    """Where the partner of each channel lies; the k-th time it comes, its k-th place in the same group."""
    run = max(len(large.channels) // large.groups, 1)
    small_run = max(len(small.channels) // small.groups, 1)
    places: dict[tuple[int, int], list[int]] = {}
    for position, channel in enumerate(large.channels):
        places.setdefault((channel, position // run), []).append(position)
    used: dict[tuple[int, int], int] = {}
    result = []
    for position, channel in enumerate(small.channels):
        key = (partner[channel], position // small_run)
        result.append(places[key][used.get(key, 0)])
        used[key] = used.get(key, 0) + 1
    return tuple(result)


def _first(x: Tensor, dim: int) -> Tensor:
    return x.movedim(dim, 0).reshape(x.shape[dim], -1)[:, 0]


def _named(signature: Signature) -> str:
    return repr(signature[0][0][0]) if signature else "nothing"
