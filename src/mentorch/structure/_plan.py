"""From a network to its plan."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from torch import nn

from mentorch._errors import UsageError, unknown
from mentorch.structure._fit import axes_of, fit, match
from mentorch.structure._spaces import INPUT, OUTPUT, Axis, Place, Plan, Space, signatures
from mentorch.structure._ties import distinct
from mentorch.structure._trace import Trace, skeleton


def plan(network: nn.Module, example: Any, *, pin: Collection[str] = (), pin_ends: bool = True) -> Plan:
    """The channel plan of ``network``, traced by running it once on channel numbers.

    The network is not touched, and no value is computed. Channels of its inputs and outputs are pinned, as are those
    that are normalised together (layer norm, group norm): to cut one of them changes all others.

    Args:
        network: any module; what it does in evaluation mode is traced.
        example: what it is called with: a tensor `[N, C, H, W]`, or a tuple of arguments. Values do not matter.
        pin: modules whose output channels all stay.
        pin_ends: pin inputs and outputs; False for a part of a network whose neighbours are cut in the same way.

    Raises:
        UsageError: if the network computes something for which there is no rule, or does not use a parameter; the
            module is named.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 3))
    >>> print(plan(network, torch.zeros(1, 3, 8, 8)))
    input: 3, stays: an input of the network
      0.weight[1]
    0: 8
      0.weight[0] 0.bias[0] 1.running_mean[0] 1.running_var[0] 1.weight[0] 1.bias[0] 2.weight[1]
    2: 5, stays: an output of the network
      2.weight[0] 2.bias[0]
    """
    bones = skeleton(network)
    trace = Trace(bones)
    trace.run(example)
    _check_reached(bones, trace)
    axes = axes_of(trace)
    if not pin_ends:
        trace.pins = [(numbers, reason) for numbers, reason in trace.pins if reason not in (INPUT, OUTPUT)]
    pinned = _pinned(trace, pin)
    shapes = {name: tuple(tensor.shape) for name, tensor in (*bones.named_parameters(), *bones.named_buffers())}
    numbers = {channel: i for i, channel in enumerate(c for members in _members(axes, trace) for c in members)}
    spaces = _spaces(axes, trace, pinned)
    renumbered = {
        place: Axis(tuple(numbers[channel] for channel in axis.channels), axis.groups) for place, axis in axes.items()
    }
    learned = tuple(name for name, _ in bones.named_parameters())
    made = Plan(_bundled(spaces, renumbered), renumbered, shapes, learned, dict(trace.layers), bones, example)
    return _without_stiff(made)


def _check_reached(bones: nn.Module, trace: Trace) -> None:
    for name, _ in bones.named_parameters():
        if name not in trace.reached:
            raise UsageError(
                f"parameter {name!r} is not used in evaluation mode: build the network without it, or remove it"
            )


def _pinned(trace: Trace, modules: Collection[str]) -> dict[int, str]:
    """Channels (roots) that stay, and why."""
    known = {_module(name) for name, _ in trace.creators}
    for module in modules:
        if module not in known:
            raise unknown("module to pin", module, known)
        for name, dim in trace.creators:
            if _module(name) == module:
                trace.pin(trace.places[name, dim].numbers, f"pinned with {module}")
    return {
        channel: reason for numbers, reason in reversed(trace.pins) for channel in distinct(trace.ties.roots(numbers))
    }


def _members(axes: Mapping[Place, Axis], trace: Trace) -> list[list[int]]:
    """Channels by the set of dimensions that create them: these are the spaces, in the order of their first channel."""
    creators: dict[int, list[Place]] = {channel: [] for axis in axes.values() for channel in axis.channels}
    loose = [place for place in axes if place[0] in trace.loose]
    for place in (*trace.creators, *loose):
        for channel in dict.fromkeys(axes[place].channels):
            creators[channel].append(place)
    members: dict[tuple[Place, ...], list[int]] = {}
    for channel in sorted(creators):
        members.setdefault(tuple(creators[channel]), []).append(channel)
    return list(members.values())


def _spaces(axes: Mapping[Place, Axis], trace: Trace, pinned: Mapping[int, str]) -> list[Space]:
    groups: dict[int, int] = {}
    makers: dict[int, str] = {}
    for place, axis in axes.items():
        for channel in axis.channels:
            groups[channel] = math.lcm(groups.get(channel, 1), axis.groups)
            if place in trace.creators or place[0] in trace.loose:
                makers.setdefault(channel, _module(place[0]))
    spaces: list[Space] = []
    start = 0
    for members in _members(axes, trace):
        multiple = math.lcm(*(groups[channel] for channel in members))
        reason = next((pinned[channel] for channel in members if channel in pinned), None)
        if reason is None and len(members) % multiple:
            reason = f"cannot be shared among {multiple} groups"
        name = makers.get(members[0], "constant")
        taken = sum(space.name.partition("#")[0] == name for space in spaces)
        name = f"{name}#{taken + 1}" if taken else name
        spaces.append(Space(name, start, len(members), reason, multiple))
        start += len(members)
    return spaces


def _module(name: str) -> str:
    """The module whose tensor is called ``name``; names of what is no tensor end after a colon."""
    path, colon, _ = name.partition(":")
    return path if colon else name.rpartition(".")[0] or name


def _bundled(spaces: list[Space], axes: Mapping[Place, Axis]) -> tuple[Space, ...]:
    """Spaces whose channels part ways (a split, a shuffle, groups) are bundled with those that they meet anywhere."""
    space_of = [index for index, space in enumerate(spaces) for _ in space.channels]
    ways: dict[int, int] = {}
    for channels in signatures(axes).values():
        for index in {space_of[channel] for channel in channels}:
            ways[index] = ways.get(index, 0) + 1
    bundle = list(range(len(spaces)))
    for axis in axes.values():
        met = {space_of[channel] for channel in axis.channels}
        if len(met) > 1 and any(ways[index] > 1 for index in met):
            joined = {bundle[index] for index in met}
            bundle = [min(joined) if own in joined else own for own in bundle]
    stays = {bundle[i]: space.name for i, space in enumerate(spaces) if space.pinned}
    return tuple(
        replace(space, bundle=own, pinned=space.pinned or (f"goes with {stays[own]}" if own in stays else None))
        for space, own in zip(spaces, bundle, strict=True)
    )


def _without_stiff(made: Plan) -> Plan:
    """The plan with spaces pinned that cannot be halved, as code may have its widths written into it: it is tried."""
    if _runs(made, {space.bundle for space in made.spaces}):
        return made
    stiff = {space.bundle for space in made.spaces if not space.pinned and not _runs(made, {space.bundle})}
    reason = "the code of the network cannot have fewer"
    return replace(
        made, spaces=tuple(replace(s, pinned=s.pinned or (reason if s.bundle in stiff else None)) for s in made.spaces)
    )


def _runs(made: Plan, bundles: Collection[int]) -> bool:
    steps = [made.step(space) if space.bundle in bundles else space.size for space in made.spaces]
    try:
        match(made, fit(made, made.widths(Fraction(1, 2), steps)), lambda channels, count: channels[:count])
    except UsageError:
        return False
    return True
