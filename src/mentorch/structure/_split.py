"""What is kept of a network, and what is not."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.structure._fit import Choose, fit, match
from mentorch.structure._spaces import Place, Plan

SCHEMA = "mentorch.structure/1"
Rate = float | str | Fraction
Mode = Literal["kels", "random", "wels"]


@dataclass(frozen=True)
class Split:
    """Which weights of a network are kept: the fit part. The others are the reset part.

    Made by `split`, `split_by` and `prune`. A split by channels says what the smaller network takes of every tensor; a
    weight belongs to the fit part exactly when it is taken, so the two cannot disagree. A split by weights has none.

    Args:
        plan: of the network.
        taken: indices along every dimension that carries channels, in the order of the smaller network; None for a
            split by weights.
        rate: the fraction that was asked for, if any.
        seed: draws the weights of a split by weights.
        masks: of the weights of layers, packed into bits, for a split by weights that was given.
        attributes: what modules of the smaller network keep as plain attributes.
    """

    plan: Plan = field(repr=False)
    taken: Mapping[Place, tuple[int, ...]] | None = field(repr=False)
    rate: Fraction | None = None
    seed: int = 0
    masks: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    attributes: Mapping[str, Mapping[str, int]] = field(default_factory=dict, repr=False)

    @property
    def by_channels(self) -> bool:
        """Whether there is a smaller network."""
        return self.taken is not None

    @cached_property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """For every space, which of its channels are kept."""
        taken = self.require_channels()
        channels = {self.plan.axes[place].channels[i] for place, indices in taken.items() for i in indices}
        return {s.name: tuple(c - s.start for c in s.channels if c in channels) for s in self.plan.spaces}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the smaller network."""
        shapes = {name: list(shape) for name, shape in self.plan.shapes.items()}
        for (name, dim), taken in self.require_channels().items():
            if name in shapes:
                shapes[name][dim] = len(taken) // (self.plan.axes[name, dim].groups if dim else 1)
        return {name: tuple(shape) for name, shape in shapes.items()}

    def mask(self, name: str) -> Tensor:
        """True where the parameter or buffer ``name`` belongs to the fit part; of its shape, on the CPU."""
        shape = self.plan.shapes[name]
        mask = torch.zeros(math.prod(shape), dtype=torch.bool)
        if self.by_channels:
            mask[self.take(name, torch.arange(len(mask)).view(shape)).flatten()] = True
        elif name not in self.plan.layers:
            mask[:] = True
        elif name in self.masks:
            mask = unpack(self.masks[name])[: len(mask)]
        else:
            # a stream of its own for every tensor: the mask of one layer does not depend on the others
            generator = torch.Generator().manual_seed(hash_seed(self.seed, name))
            mask[torch.randperm(len(mask), generator=generator)[: round((self.rate or 0) * len(mask))]] = True
        return mask.view(shape)

    def take(self, name: str, tensor: Tensor) -> Tensor:
        """What the smaller network takes of ``tensor``, which is called ``name``, as a copy.

        Raises:
            UsageError: for a split by weights.
        """
        indices, result = self.require_channels(), tensor
        for dim in range(tensor.ndim):
            groups = self.plan.axes[name, dim].groups if dim and (name, dim) in indices else 1
            whole = tuple(range(groups * tensor.shape[dim]))
            if (own := indices.get((name, dim), whole)) == whole:
                continue
            taken = torch.tensor(own, dtype=torch.long, device=tensor.device)
            if groups == 1:
                result = result.index_select(dim, taken)
                continue
            columns = taken.view(groups, -1) - torch.arange(groups, device=taken.device)[:, None] * tensor.shape[dim]
            parts = zip(result.chunk(groups), columns, strict=True)
            result = torch.cat([part.index_select(dim, column) for part, column in parts])
        return result.clone() if result is tensor else result.contiguous()

    def require_channels(self) -> Mapping[Place, tuple[int, ...]]:
        """What is taken; raise UsageError for a split by weights."""
        if self.taken is None:
            raise UsageError("a split by weights (wels) has no smaller network: split by channels (kels), or prune")
        return self.taken

    def recipe(self) -> dict[str, Any]:
        """The smaller network as plain values for JSON: `resize` makes it from what its builder makes.

        Raises:
            UsageError: for a split by weights.
        """
        self.require_channels()
        sizes = {space.name: space.size for space in self.plan.spaces}
        kept = {name: list(c) for name, c in self.kept.items() if len(c) < sizes[name]}
        changed = {name: list(shape) for name, shape in self.shapes.items() if shape != self.plan.shapes[name]}
        taken = {name: self._along(name) for name in sorted(unsaved(self.plan._network) & changed.keys())}
        return {
            "schema": SCHEMA,
            "plan": self.plan.hash,
            "network": shapes_hash(self.plan.shapes),
            "kept": kept,
            "shapes": changed,
            "attributes": {path: dict(values) for path, values in self.attributes.items()},
            "taken": {name: along for name, along in taken.items() if along},
        }

    def _along(self, name: str) -> list[list[int] | None]:
        """What is taken along each dimension of a tensor; nothing for one whose groups take different indices."""
        dims, indices = range(len(self.plan.shapes[name])), self.require_channels()
        if any(dim and (name, dim) in indices and self.plan.axes[name, dim].groups > 1 for dim in dims):
            return []
        return [list(indices[name, dim]) if (name, dim) in indices else None for dim in dims]

    def describe(self) -> str:
        """A table of what is kept of every layer, and what the smaller network costs."""
        counts = [(name, math.prod(self.plan.shapes[name]), int(self.mask(name).sum())) for name in self.plan.layers]
        counts.append(("all layers", sum(total for _, total, _ in counts), sum(kept for _, _, kept in counts)))
        if self.by_channels:
            costs = zip(self.plan.cost(self.plan.shapes), self.plan.cost(self.shapes), strict=True)
            counts += [(what, *cost) for what, cost in zip(("parameters", "multiply-adds"), costs, strict=True)]
        rows = [("layer", "weights", "kept", "%")]
        rows += [(name, f"{total:,}", f"{kept:,}", f"{100 * kept / total:.1f}") for name, total, kept in counts]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            f"{row[0]:<{widths[0]}}  " + "  ".join(f"{row[i]:>{widths[i]}}" for i in (1, 2, 3)) for row in rows
        )


def split(plan: Plan, keep: Rate = 0.5, *, mode: Mode = "kels", seed: int = 0) -> Split:
    """Split the weights into a fit and a reset part (Taha et al., CVPR 2021, arXiv:2103.05152, section 3).

    By channels (`kels`), a space of n channels keeps the first ceil(r n) of them; where a grouped convolution makes or
    reads them, as many of each group. Where a later split or shuffle sends channels different ways, the first of
    each way are kept, as many as the smaller network sends there; `random` keeps as many, but any of them. By weights
    (`wels`), every convolution and linear layer keeps exactly round(r n) of its n weights, at random.

    Grouped convolutions and shuffles may allow no such widths; spaces that they mix are then cut in equal proportion,
    in the next larger one that they all allow.

    Args:
        plan: of the network.
        keep: the split rate r, 0 < r <= 1, read as a decimal number: 0.55 of 100 channels are 55.
        mode: by leading channels, by random channels or by weights.
        seed: of the random choice.

    Raises:
        UsageError: if the rate or mode is none, or no smaller network of the same code has these widths.
    """
    rate = read_rate(keep)
    if mode == "wels":
        return Split(plan, None, rate, seed)
    if mode not in ("kels", "random"):
        raise UsageError(f"mode must be 'kels', 'random' (channels) or 'wels' (weights), not {mode!r}")

    def choose() -> Choose:
        return _first if mode == "kels" else _at_random(seed)

    try:
        return keep_channels(plan, rate, plan.widths(rate, [space.multiple for space in plan.spaces]), choose())
    except UsageError:
        return keep_channels(plan, rate, plan.widths(rate, [plan.step(space) for space in plan.spaces]), choose())


def _first(channels: Sequence[int], count: int) -> Sequence[int]:
    return channels[:count]


def _at_random(seed: int) -> Choose:
    generator = torch.Generator().manual_seed(hash_seed(seed, "channels"))

    def drawn(channels: Sequence[int], count: int) -> Sequence[int]:
        return [channels[i] for i in torch.randperm(len(channels), generator=generator)[:count].tolist()]

    return drawn


def keep_channels(plan: Plan, rate: Fraction, widths: Mapping[str, int], choose: Choose) -> Split:
    """The split that leaves every space its width, and lets ``choose`` say which channels stay."""
    fitted = fit(plan, widths)
    return Split(plan, match(plan, fitted, choose), rate, attributes=fitted.attributes)


def read_rate(keep: Rate) -> Fraction:
    """``keep`` as the exact fraction that its decimal notation says.

    Raises:
        UsageError: unless 0 < keep <= 1.

    >>> math.ceil(0.55 * 100), math.ceil(read_rate(0.55) * 100)
    (56, 55)
    """
    try:
        rate = Fraction(str(keep))
    except ValueError as error:
        raise UsageError(f"the rate to keep must be a number, not {keep!r}") from error
    if not 0 < rate <= 1:
        raise UsageError(f"the rate to keep must be above 0 and at most 1, not {keep}")
    return rate


def shapes_hash(shapes: Mapping[str, Sequence[int]]) -> str:
    """What identifies a network before it is cut: names and shapes of its tensors."""
    return hashlib.sha256(
        json.dumps(sorted((name, list(shape)) for name, shape in shapes.items())).encode()
    ).hexdigest()


def unsaved(network: nn.Module) -> set[str]:
    """Names of buffers that no state dict holds."""
    return {name for name, _ in network.named_buffers()} - network.state_dict().keys()


def hash_seed(seed: int | None, name: str) -> int:
    """A seed for one tensor of many."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7])


def pack(mask: Tensor) -> bytes:
    """Eight truths to a byte."""
    bits = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return bytes((bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8).tolist())


def unpack(packed: bytes) -> Tensor:
    """What was packed, flat, and up to seven truths more."""
    values = torch.tensor(list(packed), dtype=torch.uint8)
    return ((values[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).bool().flatten()
