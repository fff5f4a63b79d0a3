"""Several networks of one architecture in one, side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.structure._fit import fit
from mentorch.structure._plan import plan as trace_plan
from mentorch.structure._slim import with_attributes
from mentorch.structure._spaces import INPUT, OUTPUT, Axis, Place, Plan, signatures
from mentorch.structure._trace import with_tensors

# for one teacher: where its index i along a dimension lies in the merged network
Targets = Mapping[Place, Tensor]


def merge(networks: Sequence[nn.Module], example: Any) -> nn.Module:
    """One network that computes what all of ``networks`` compute, on the same input; outputs in their order.

    Every weight becomes block-diagonal: block (m, m) is that of network m, and zero elsewhere, so that further training
    can share features between them. The first layers stand on one shared input. Outputs are joined along the
    channels, `[N, K_1 + K_2 + ...]`; numbers of classes may differ.

    Args:
        networks: of one architecture, with batch norm or without.
        example: what they are called with.

    Raises:
        UsageError: if the networks differ, normalise channels together (layer norm, group norm), or use grouped
            convolutions or shuffles that cannot be put side by side.
    """
    if not networks:
        raise UsageError("there is nothing to merge: give at least one network")
    plans = [trace_plan(network, example) for network in networks]
    _check_alike(plans)
    sizes = [[space.size for space in plan.spaces] for plan in plans]
    widths = {
        space.name: space.size if space.pinned == INPUT else sum(own[i] for own in sizes)
        for i, space in enumerate(plans[0].spaces)
    }
    fitted = fit(plans[0], widths)
    targets = _targets(plans, fitted.axes)
    teachers = [dict([*network.named_parameters(), *network.named_buffers()]) for network in networks]

    def make(name: str, own: Tensor) -> Tensor:
        return _blocks(name, [teacher[name].detach() for teacher in teachers], plans, fitted.axes, targets)

    return with_attributes(with_tensors(networks[0], make), fitted.attributes)


def _check_alike(plans: Sequence[Plan]) -> None:
    for space in plans[0].spaces:
        if space.pinned not in (None, INPUT, OUTPUT):
            raise UsageError(f"channels of {space.name!r} cannot be put side by side: {space.pinned}")
    for place, axis in plans[0].axes.items():
        if axis.groups > 1:
            raise UsageError(f"{place[0]!r} is a grouped convolution: networks with it cannot be merged")
    first = [(s.name, s.pinned, None if s.pinned == OUTPUT else s.size) for s in plans[0].spaces]
    for i, plan in enumerate(plans):
        if [(s.name, s.pinned, None if s.pinned == OUTPUT else s.size) for s in plan.spaces] != first:
            raise UsageError(f"network {i} is of another architecture than network 0: only equal ones can be merged")


def _targets(plans: Sequence[Plan], merged: Mapping[Place, Axis]) -> list[Targets]:
    """The channels of the merged network that go one way are those of the first teacher, then of the second, ..."""
    own = [signatures(plan.axes) for plan in plans]
    partner: list[dict[int, int]] = [{} for _ in plans]
    for signature, channels in signatures(merged).items():
        counts = [len(classes.get(signature, ())) for classes in own]
        shared = plans[0].spaces[plans[0].space_of[own[0][signature][0]]].pinned == INPUT if counts[0] else False
        if len(channels) != (counts[0] if shared else sum(counts)):
            raise UsageError(
                f"channels of {signature[0][0][0]!r} do not stay together when networks stand side by side"
            )
        start = 0
        for i, classes in enumerate(own):
            part = channels if shared else channels[start : start + counts[i]]
            partner[i].update(zip(part, classes[signature], strict=True))
            start += counts[i]
    return [
        {place: _target(axis, plan.axes[place], partner[i]) for place, axis in merged.items()}
        for i, plan in enumerate(plans)
    ]


def _target(merged: Axis, own: Axis, partner: Mapping[int, int]) -> Tensor:
    places: dict[int, list[int]] = {}
    for position, channel in enumerate(own.channels):
        places.setdefault(channel, []).append(position)
    seen: Counter[int] = Counter()
    result = torch.zeros(len(own.channels), dtype=torch.long)
    for position, channel in enumerate(merged.channels):
        if channel in partner:
            result[places[partner[channel]][seen[channel]]] = position
            seen[channel] += 1
    return result


def _blocks(
    name: str, parts: Sequence[Tensor], plans: Sequence[Plan], merged: Mapping[Place, Axis], targets: Sequence[Targets]
) -> Tensor:
    first = parts[0]
    shape = [len(merged[name, d].channels) if (name, d) in merged else first.shape[d] for d in range(first.ndim)]
    result = torch.zeros(shape, dtype=first.dtype, device=first.device)
    if list(first.shape) == shape:
        if any(not torch.equal(first, part) for part in parts) and first.is_floating_point():
            raise UsageError(f"{name!r} is not made of channels, and differs between the networks: it cannot be merged")
        return result.copy_(first)
    for part, target in zip(parts, targets, strict=True):
        index = [target.get((name, d), torch.arange(part.shape[d])) for d in range(part.ndim)]
        grid = torch.meshgrid(*index, indexing="ij")
        result[tuple(axis.to(result.device) for axis in grid)] = part.to(result)
    return result
