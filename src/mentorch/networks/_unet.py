"""U-Net (Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597), with padding and batch normalisation."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._dense import EncoderDecoder, Head, convolutions
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps


class Down(nn.Module):
    """Two convolutions (``body``), whose map is left for the decoder, after max pooling unless it is the first."""

    def __init__(self, inputs: int, width: int, *, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        self.body = convolutions(inputs, (width, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(F.max_pool2d(x, 2, ceil_mode=True) if self.pool else x)
        return x, x


class Up(nn.Module):
    """A 2x2 up-convolution, the encoder's map of that size beside it, and two convolutions (``body``)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, width, 2, stride=2)
        self.body = convolutions(2 * width, (width, width))

    def forward(self, x: Tensor, left: Tensor) -> Tensor:
        raised = self.up(x)[:, :, : left.shape[2], : left.shape[3]]  # one more row or column where the size was odd
        result: Tensor = self.body(torch.cat((left, raised), dim=1))
        return result


def unet(
    num_classes: int, in_channels: int = 3, *, widths: Sequence[int] = (64, 128, 256, 512, 1024)
) -> EncoderDecoder:
    """U-Net: an encoder of blocks `down1`.., a decoder ..`up1` that reads the encoder's maps, and a `head`.

    Convolutions are padded, so that the output has the size of the image, and followed by batch normalisation; the
    paper has neither.

    Args:
        num_classes: outputs per pixel: classes, 1 for depth, 3 for normals.
        in_channels: channels of the images.
        widths: channels of each level, at least two.

    Raises:
        UsageError: for fewer than two levels.

    >>> unet(7).widths
    (1024, 512, 256, 128, 64)
    """
    if len(widths) < 2:
        raise UsageError(f"a U-Net needs at least two levels, not widths {list(widths)}")
    count = len(widths)
    before = (in_channels, *widths)
    encoder: dict[str, nn.Module] = {f"down{i + 1}": Down(before[i], widths[i], pool=i > 0) for i in range(count)}
    ups = range(count - 2, -1, -1)
    decoder: dict[str, nn.Module] = {f"up{i + 1}": Up(widths[i + 1], widths[i]) for i in ups}
    decoder["head"] = Head(widths[0], num_classes, 1)
    network = EncoderDecoder(
        encoder,
        decoder,
        levels=(*ups, None),
        widths=(*reversed(widths[1:]), widths[0]),
        taps=Taps("encoder.down1.body.2", tuple(f"encoder.{name}.body" for name in encoder), "decoder.head:in"),
    )
    kaiming(network)
    return network


unet_tiny = partial(unet, widths=(16, 32, 48, 64))
