"""Networks that answer at every pixel by name, for the command line, recipes and cards."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from mentorch._errors import UsageError
from mentorch.networks._branched import Branched, Plan, branched
from mentorch.networks._deeplab import deeplab
from mentorch.networks._dense import EncoderDecoder
from mentorch.networks._segnet import segnet, segnet_tiny
from mentorch.networks._unet import unet, unet_tiny

DENSE: Mapping[str, Callable[..., EncoderDecoder]] = MappingProxyType(
    {"segnet": segnet, "segnet_tiny": segnet_tiny, "unet": unet, "unet_tiny": unet_tiny}
)
OVER = "deeplab_"  # and the name of a backbone

Find = Callable[[str], Callable[..., nn.Module]]


def find_dense(name: str, find: Find) -> Callable[..., nn.Module] | None:
    """The builder of a dense network, None for other names; ``find`` knows the backbones."""
    if name.startswith(OVER):
        return partial(_deeplab, find(name.removeprefix(OVER)))
    return partial(_branched, find) if name == "branched" else DENSE.get(name)


def _deeplab(
    backbone: Callable[..., nn.Module],
    num_classes: int,
    in_channels: int = 3,
    *,
    rates: Sequence[int] = (6, 12, 18),
    width: int = 256,
) -> EncoderDecoder:
    return deeplab(backbone(num_classes=1, in_channels=in_channels), num_classes, rates=tuple(rates), width=width)


def _branched(
    find: Find,
    num_classes: int,
    in_channels: int = 3,
    *,
    trunk: str = "segnet_tiny",
    options: Mapping[str, Any] | None = None,
    branches: Plan | None = None,
) -> Branched:
    """By the name of the network that trunk and branches are from, its options, and `Tree.plan`."""

    def make(outputs: int) -> EncoderDecoder:
        network = find(trunk)(num_classes=outputs, in_channels=in_channels, **(options or {}))
        if not isinstance(network, EncoderDecoder):
            raise UsageError(f"branched: {trunk} has no decoder blocks to branch from")
        return network

    def built(plan: Plan) -> Branched:
        parts: dict[str, tuple[EncoderDecoder | Branched, int]] = {
            name: (make(what) if isinstance(what, int) else built(what), depth) for name, (depth, what) in plan.items()
        }
        return branched(make(1), parts)

    found = built(branches or {})
    outputs = sum(_leaves(branches or {}))
    if outputs != num_classes:
        raise UsageError(f"branched: its branches have {outputs} outputs together, not {num_classes}")
    return found


def _leaves(plan: Plan) -> list[int]:
    return [outputs for _, what in plan.values() for outputs in ([what] if isinstance(what, int) else _leaves(what))]
