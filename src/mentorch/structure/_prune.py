"""Remove the channels that matter least."""

import bisect
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.structure._scores import Importance, scores
from mentorch.structure._slim import check_network
from mentorch.structure._spaces import Plan, Space
from mentorch.structure._split import Rate, Split, keep_channels, read_rate


def prune(
    network: nn.Module,
    plan: Plan,
    *,
    by: Importance | Tensor = "l1",
    to: Rate,
    of: Literal["parameters", "macs", "channels"] = "parameters",
    scope: Literal["global", "layer"] = "global",
    seed: int = 0,
) -> Split:
    """Which channels to keep so that ``to`` of the network is left; `slim` then removes the others.

    Channels are removed one by one, the least important first, until the target is reached: the result is at most one
    removal below it. A removal takes what belongs together: one channel of each group of a grouped convolution, or
    one of each space that a shuffle mixes. Every space keeps at least one.

    Args:
        network: with the weights to judge; it is not changed.
        plan: of the network.
        by: see `scores`; or scores of your own, one per channel of the plan, `[channels]`.
        to: the fraction to keep.
        of: of the parameters, of the multiply-adds in convolutions and linear layers, or of the channels not pinned.
        scope: one ranking of all channels, or the same fraction of each space.
        seed: of random scores.

    Raises:
        UsageError: if the plan is of another network, an option does not exist, or the target is out of reach.
    """
    check_network(network, plan)
    if of not in ("parameters", "macs", "channels"):
        raise UsageError(f"prune to a fraction of 'parameters', 'macs' or 'channels', not {of!r}")
    if scope not in ("global", "layer"):
        raise UsageError(f"scope must be 'global' or 'layer', not {scope!r}")
    rate = read_rate(to)
    values = (by if isinstance(by, Tensor) else scores(network, plan, by, seed=seed)).double().cpu()
    if values.shape != (len(plan.space_of),) or not bool(values.isfinite().all()):
        raise UsageError(f"scores must be {len(plan.space_of)} finite numbers, not {tuple(values.shape)}")
    ranked, order = values.tolist(), _order(plan, values, scope)
    target = rate * _cost(plan, order[:0], of)
    count = bisect.bisect_left(range(len(order)), True, key=lambda n: _cost(plan, order[:n], of) <= target)
    while True:
        split = keep_channels(
            plan,
            rate,
            _widths(plan, order[:count]),
            lambda channels, kept: sorted(channels, key=lambda channel: ranked[channel], reverse=True)[:kept],
        )
        # where a network shuffles, its exact shapes are known only now
        left = _cost(plan, order[:count], of) if of == "channels" else plan.cost(split.shapes)[of == "macs"]
        if left <= target:
            return split
        if count == len(order):
            raise UsageError(
                f"cannot prune to {float(rate):g} of the {of}: {float(left / target * rate):.3f} is the least"
            )
        count += 1


def _order(plan: Plan, values: Tensor, scope: str) -> list[int]:
    """Bundles in the order in which they lose a step of channels; all but the last step of each."""
    bundles: dict[int, list[Space]] = {}
    for space in plan.spaces:
        if not space.pinned:
            bundles.setdefault(space.bundle, []).append(space)
    steps: list[tuple[float, int]] = []
    for bundle, spaces in bundles.items():
        count = spaces[0].size // plan.step(spaces[0])
        ranked = [values[s.start : s.start + s.size].sort().values.view(count, -1).mean(1) for s in spaces]
        means = torch.stack(ranked).mean(0).tolist()
        steps += [(means[i] if scope == "global" else (i + 1) / count, bundle) for i in range(count - 1)]
    return [bundle for _, bundle in sorted(steps)]


def _widths(plan: Plan, removed: Sequence[int]) -> dict[str, int]:
    counts: dict[int, int] = {}
    for bundle in removed:
        counts[bundle] = counts.get(bundle, 0) + 1
    return {s.name: s.size - (0 if s.pinned else plan.step(s) * counts.get(s.bundle, 0)) for s in plan.spaces}


def _cost(plan: Plan, removed: Sequence[int], of: str) -> int:
    widths = _widths(plan, removed)
    if of == "channels":
        return sum(widths[space.name] for space in plan.spaces if not space.pinned)
    parameters, macs = plan.cost(plan.shapes_at(widths))
    return parameters if of == "parameters" else macs
