"""DeepLab v3+ over any convolutional backbone (Chen et al., ECCV 2018, arXiv:1802.02611)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._dense import EncoderDecoder, Head, convolutions
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps, taps

_LOW = 48  # channels of the shallow map in the decoder, as in the paper


class Stage(nn.Module):
    """A part of a backbone (``body``); leaves its map, or what it read, for the decoder."""

    def __init__(self, body: nn.Module, *, leaves_input: bool = False) -> None:
        super().__init__()
        self.body = body
        self.leaves_input = leaves_input

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        result: Tensor = self.body(x)
        return result, x if self.leaves_input else result


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, dilated 3x3 and image-wide views of the deepest map, side by side."""

    def __init__(self, inputs: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        views = [_view(inputs, width, 1, 1), *(_view(inputs, width, 3, rate) for rate in rates)]
        self.views = nn.ModuleList(views)
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, width, 1), nn.ReLU())
        self.body = _view(width * (len(views) + 1), width, 1, 1)

    def forward(self, x: Tensor, left: None = None) -> Tensor:
        whole = self.whole(x).expand(-1, -1, *x.shape[2:])
        result: Tensor = self.body(torch.cat([*(view(x) for view in self.views), whole], dim=1))
        return result


class Fuse(nn.Module):
    """The deep map enlarged to the shallow one, which is reduced to few channels, and convolutions over both."""

    def __init__(self, width: int, low: int) -> None:
        super().__init__()
        self.reduce = _view(low, min(_LOW, width), 1, 1)
        self.body = convolutions(width + min(_LOW, width), (width, width))

    def forward(self, x: Tensor, left: Tensor) -> Tensor:
        raised = F.interpolate(x, left.shape[2:], mode="bilinear", align_corners=False)
        result: Tensor = self.body(torch.cat((raised, self.reduce(left)), dim=1))
        return result


def deeplab(
    backbone: nn.Module,
    num_classes: int,
    *,
    rates: Sequence[int] = (6, 12, 18),
    width: int = 256,
) -> EncoderDecoder:
    """DeepLab v3+ over a classification network: `stem`, `stage1`..; then `pyramid`, `fuse` and `head`.

    The backbone's layers are used as they are, weights included, up to its last stage; its stages keep their strides.
    It must run its modules in the order in which it has them, as the convolutional networks here do.

    Args:
        backbone: with `taps`; the new network holds its modules, and not copies of them.
        num_classes: outputs per pixel: classes, 1 for depth, 3 for normals.
        rates: dilations, published for a deepest map of 1/16 of 513 pixels; take smaller ones, such as (1, 2, 3), for
            small maps.
        width: channels of the decoder.

    Raises:
        UsageError: if the backbone says nothing about itself, or does not run its modules in order, map by map.

    >>> from mentorch.networks import resnet8
    >>> network = deeplab(resnet8(10), 7, rates=(1, 2), width=32)
    >>> [name for name, _ in network.encoder.named_children()]
    ['stem', 'stage1', 'stage2', 'stage3']
    """
    bodies = _cut(backbone)
    channels = _channels(backbone, bodies)
    encoder: dict[str, nn.Module] = {"stem": Stage(bodies[0], leaves_input=True)}
    encoder |= {f"stage{i}": Stage(body) for i, body in enumerate(bodies[1:], start=1)}
    pyramid, fuse, head = Pyramid(channels[-1], width, rates), Fuse(width, channels[1]), Head(width, num_classes, 1)
    for new in (pyramid, fuse, head):
        kaiming(new)
    return EncoderDecoder(
        encoder,
        {"pyramid": pyramid, "fuse": fuse, "head": head},
        levels=(None, 1, 0),
        widths=(channels[-1], width, width),
        taps=Taps("encoder.stem.body", tuple(f"encoder.{name}.body" for name in encoder)[1:], "decoder.head:in"),
    )


def _cut(backbone: nn.Module) -> list[nn.Sequential]:
    """The backbone's own modules in order, up to its last stage, cut after each in which its stem or a stage ends."""
    places = taps(backbone)
    names = [name for name, _ in backbone.named_children()]
    stops = {place.split(".")[0] for place in (places.stem, *places.stages)}
    if missing := stops - set(names):
        raise UsageError(f"{type(backbone).__name__} has no modules of its own called {', '.join(sorted(missing))}")
    ends = sorted(names.index(name) + 1 for name in stops)
    children = list(backbone.children())
    return [nn.Sequential(*children[first:last]) for first, last in pairwise((0, *ends))]


def _channels(backbone: nn.Module, parts: Sequence[nn.Module]) -> list[int]:
    """Channels of what each part hands on, after a trial that the backbone does the same.

    Raises:
        UsageError: if it does something else than to run its modules in order, or works on other things than maps.
    """
    first = next(m for m in parts[0].modules() if isinstance(m, nn.Conv2d))
    x = torch.linspace(-1, 1, first.in_channels * 32 * 32).view(1, first.in_channels, 32, 32).to(first.weight)
    seen: list[Tensor] = []
    last = list(parts[-1].children())[-1]
    handle = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    maps = []
    try:
        with torch.no_grad():
            backbone(x)
            for part in parts:
                x = part(x)
                maps.append(x)
    finally:
        handle.remove()
        for module in training:
            module.training = True
    if any(x.ndim != 4 for x in maps) or len(maps) < 2 or not _alike(seen[0], maps[-1]):
        raise UsageError(
            f"deeplab needs a backbone whose modules run in order and hand on maps, twice at least; "
            f"{type(backbone).__name__} is none"
        )
    return [x.shape[1] for x in maps]


def _alike(one: Tensor, other: Tensor) -> bool:
    """Equal; on the meta device, where there are no values, of one shape."""
    return one.shape == other.shape and (one.is_meta or torch.equal(one, other))


def _view(inputs: int, width: int, size: int, rate: int) -> nn.Sequential:
    padding = rate if size == 3 else 0
    conv = nn.Conv2d(inputs, width, size, padding=padding, dilation=rate, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())
