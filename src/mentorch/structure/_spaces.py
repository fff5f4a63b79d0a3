"""The channel plan: which channels of which tensors belong together."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from torch import nn

Place = tuple[str, int]  # a tensor's name and one of its dimensions
INPUT = "an input of the network"
OUTPUT = "an output of the network"


@dataclass(frozen=True)
class Space:
    """Channels that are made together, and of which any number may be kept.

    Args:
        name: the module that first makes them.
        start: the number of the first of them in the plan; the others follow.
        size: how many there are.
        pinned: why all of them stay, or None.
        multiple: what their number must be a multiple of: the groups of the convolutions that make or read them.
        bundle: spaces of one bundle are cut at the same rate, as a split, shuffle or grouped convolution mixes them.
    """

    name: str
    start: int
    size: int
    pinned: str | None = None
    multiple: int = 1
    bundle: int = 0

    @property
    def channels(self) -> range:
        """Their numbers in the plan."""
        return range(self.start, self.start + self.size)


@dataclass(frozen=True)
class Axis:
    """The channels along one dimension of a tensor.

    Args:
        channels: a channel of the plan for every index; a channel that comes more than once is cut everywhere.
        groups: equal runs of a grouped convolution: run i of its outputs reads run i of its inputs only.
    """

    channels: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class Plan:
    """Which channels of which tensors belong together. Made by `plan`, used by everything that changes widths.

    Args:
        spaces: the channel spaces, in the order in which the network makes them.
        axes: for each tensor and dimension that carries channels, which.
        shapes: shape of every parameter and buffer.
        parameters: those that are learned.
        layers: the weights of convolutions and linear layers, and at how many positions of one sample each is applied.
    """

    spaces: tuple[Space, ...]
    axes: Mapping[Place, Axis]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: tuple[str, ...]
    layers: Mapping[str, int]
    _network: nn.Module = field(repr=False, compare=False)  # its skeleton, without memory
    _example: Any = field(repr=False, compare=False)

    @cached_property
    def hash(self) -> str:
        """Sixty-four characters that two plans share exactly when they are equal."""
        spaces = [(s.name, s.size, s.pinned is not None, s.multiple, s.bundle) for s in self.spaces]
        axes = sorted([*place, axis.groups, *axis.channels] for place, axis in self.axes.items())
        text = json.dumps([spaces, axes, sorted(self.shapes.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def space_of(self) -> tuple[int, ...]:
        """The index of its space, for every channel."""
        return tuple(index for index, space in enumerate(self.spaces) for _ in space.channels)

    def step(self, space: Space) -> int:
        """By how many channels ``space`` can shrink so that all spaces of its bundle shrink in equal proportion."""
        bundle = [other for other in self.spaces if other.bundle == space.bundle]
        return space.size // math.gcd(*(other.size // other.multiple for other in bundle))

    def widths(self, rate: Fraction, steps: Sequence[int]) -> dict[str, int]:
        """The width of every space: ``rate`` of its channels, rounded up to multiples of its step."""
        return {
            space.name: space.size if space.pinned else step * math.ceil(rate * space.size / step)
            for space, step in zip(self.spaces, steps, strict=True)
        }

    def size(self, widths: Mapping[str, int], place: Place) -> int:
        """The size that a dimension has when every space has the width that ``widths`` gives it, by name.

        Exact where channels are made; an estimate where a split or shuffle sends only some of a space.
        """
        return sum(
            count * widths[self.spaces[index].name] // self.spaces[index].size
            for index, count in self._counts[place].items()
        )

    @cached_property
    def _counts(self) -> dict[Place, Counter[int]]:
        """How often each space comes along a dimension."""
        return {place: Counter(self.space_of[c] for c in axis.channels) for place, axis in self.axes.items()}

    def shapes_at(self, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor when every space has the width that ``widths`` gives it."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        for (name, dim), axis in self.axes.items():
            if name in shapes:
                shapes[name][dim] = self.size(widths, (name, dim)) // (axis.groups if dim else 1)
        return {name: tuple(shape) for name, shape in shapes.items()}

    def cost(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
        """Parameters, and multiply-adds of one sample in convolutions and linear layers, at these shapes."""
        parameters = sum(math.prod(shapes[name]) for name in self.parameters)
        return parameters, sum(uses * math.prod(shapes[name]) for name, uses in self.layers.items())

    def __str__(self) -> str:
        lines = []
        for space in self.spaces:
            places = [
                f"{name}[{dim}]"
                for (name, dim), axis in self.axes.items()
                if name in self.shapes and space.start in axis.channels
            ]
            note = (
                f", stays: {space.pinned}"
                if space.pinned
                else f", in multiples of {space.multiple}"
                if space.multiple > 1
                else ""
            )
            lines.append(f"{space.name}: {space.size}{note}\n  {' '.join(places)}")
        return "\n".join(lines)


Signature = tuple[tuple[Place, int, int], ...]


def signatures(axes: Mapping[Place, Axis]) -> dict[Signature, list[int]]:
    """Channels by where they go: place, group and number of times; each list in ascending order."""
    counts: dict[int, dict[tuple[Place, int], int]] = {}
    for place, axis in axes.items():
        run = max(len(axis.channels) // axis.groups, 1)
        for position, channel in enumerate(axis.channels):
            own = counts.setdefault(channel, {})
            key = (place, position // run)
            own[key] = own.get(key, 0) + 1
    classes: dict[Signature, list[int]] = {}
    for channel in sorted(counts):
        signature = tuple(sorted((place, group, n) for (place, group), n in counts[channel].items()))
        classes.setdefault(signature, []).append(channel)
    return classes
