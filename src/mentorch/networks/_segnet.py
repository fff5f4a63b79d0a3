"""SegNet (Badrinarayanan et al., "SegNet", TPAMI 2017, arXiv:1511.00561): VGG, and its mirror image."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._dense import EncoderDecoder, Head, convolutions
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps

Left = tuple[Tensor, tuple[int, int]]  # where the largest values were, the size before


class Down(nn.Module):
    """Convolutions (``body``), then 2x2 max pooling that remembers where each largest value was."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.body = convolutions(inputs, widths)

    def forward(self, x: Tensor) -> tuple[Tensor, Left]:
        x = self.body(x)
        pooled, places = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        return pooled, (places, (x.shape[2], x.shape[3]))


class Up(nn.Module):
    """Values put back to where the largest were, zeros elsewhere, then convolutions (``body``)."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.body = convolutions(inputs, widths)

    def forward(self, x: Tensor, left: Left) -> Tensor:
        places, (height, width) = left
        flat = x.new_zeros(*x.shape[:2], height * width)
        spread = flat.scatter(2, places.flatten(2), x.flatten(2)).view(*x.shape[:2], height, width)
        result: Tensor = self.body(spread)
        return result


def segnet(
    num_classes: int,
    in_channels: int = 3,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    depths: Sequence[int] = (2, 2, 3, 3, 3),
) -> EncoderDecoder:
    """SegNet: an encoder of VGG blocks `down1`.., a decoder of their mirror images ..`up1`, and a `head`.

    With the default, VGG-16, the maps that enter the decoder's blocks have the widths 512, 512, 256, 128, 64 and 64.

    Args:
        num_classes: outputs per pixel: classes, 1 for depth, 3 for normals.
        in_channels: channels of the images.
        widths: channels of each level.
        depths: convolutions of each level.

    Raises:
        UsageError: if ``widths`` and ``depths`` differ in length, or are empty.

    >>> segnet(7).widths
    (512, 512, 256, 128, 64, 64)
    """
    if len(widths) != len(depths) or not widths:
        raise UsageError(f"a SegNet needs as many widths as depths, not {list(widths)} and {list(depths)}")
    count = len(widths)
    before = (in_channels, *widths)
    encoder = {f"down{i + 1}": Down(before[i], (widths[i],) * depths[i]) for i in range(count)}
    decoder: dict[str, nn.Module] = {}
    for i in reversed(range(count)):
        # the last convolution of a block narrows for the next; that of the image's own level is the head
        more = depths[i] - 1 if i else max(depths[0] - 2, 0)
        decoder[f"up{i + 1}"] = Up(widths[i], (*(widths[i],) * more, widths[max(i - 1, 0)]))
    decoder["head"] = Head(widths[0], num_classes)
    network = EncoderDecoder(
        dict(encoder),
        decoder,
        levels=(*reversed(range(count)), None),
        widths=(*reversed(widths), widths[0]),
        taps=Taps("encoder.down1.body.2", tuple(f"encoder.{name}.body" for name in encoder), "decoder.head:in"),
    )
    kaiming(network)
    return network


segnet_tiny = partial(segnet, widths=(16, 32, 48, 64), depths=(1, 1, 2, 2))
