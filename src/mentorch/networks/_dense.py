"""Networks that answer at every pixel, as two lists of blocks that may be cut anywhere."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._taps import Taps


class EncoderDecoder(nn.Module):
    """An encoder and a decoder, each a sequence of named blocks; made by `segnet`, `unet` and `deeplab`.

    An encoder block returns its map and what it leaves for the decoder, ``block(x) -> (x, left)``; a decoder block
    reads both, ``block(x, left) -> x``. So the whole is

        x, left = network.encode(images)
        output = network.decode(x, left)

    and a network that shares the first b decoder blocks with another one, which goes on from there, is

        other.decode(network.decode(x, left, stop=b), left, start=b)

    Args:
        encoder: name -> block, in order.
        decoder: name -> block, in order; the last is the ``head``.
        levels: for each decoder block, which encoder block it reads what is left of, or None.
        widths: channels entering each decoder block.
        taps: where features are read.

    Attributes:
        encoder, decoder: the blocks.
        widths: channels entering each decoder block.

    Raises:
        UsageError: if ``levels`` or ``widths`` do not fit the blocks.
    """

    def __init__(
        self,
        encoder: dict[str, nn.Module],
        decoder: dict[str, nn.Module],
        *,
        levels: Sequence[int | None],
        widths: Sequence[int],
        taps: Taps,
    ) -> None:
        super().__init__()
        if not len(levels) == len(widths) == len(decoder) or any(n is not None and n >= len(encoder) for n in levels):
            raise UsageError(
                f"levels {list(levels)} and widths {list(widths)} do not fit "
                f"{len(encoder)} encoder and {len(decoder)} decoder blocks"
            )
        self.encoder, self.decoder = nn.Sequential(), nn.Sequential()
        for sequence, blocks in ((self.encoder, encoder), (self.decoder, decoder)):
            for name, block in blocks.items():
                sequence.add_module(name, block)
        self.levels, self.widths, self.taps = tuple(levels), tuple(widths), taps

    def encode(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """The encoder's last map, and for each decoder block what it reads beside its input."""
        return encode(self.encoder, self.levels, images)

    def decode(self, x: Tensor, left: Sequence[Any], *, start: int = 0, stop: int | None = None) -> Tensor:
        """The decoder's blocks from ``start`` up to ``stop``, as slices count, on the map that enters the first."""
        for block, beside in list(zip(self.decoder, left, strict=True))[start:stop]:
            x = block(x, beside)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """Outputs `[N, K, H, W]` of images `[N, C, H, W]`."""
        return self.decode(*self.encode(images))


def encode(encoder: nn.Sequential, levels: Sequence[int | None], images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
    """The last map of encoder blocks, and for each decoder block what is left for it."""
    x, found = images, []
    for block in encoder:
        x, left = block(x)
        found.append(left)
    return x, tuple(None if level is None else found[level] for level in levels)


class Head(nn.Module):
    """A convolution to the outputs; where an image is left for it, enlarged to that size."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor, images: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if images is None or x.shape[2:] == images.shape[2:]:
            return x
        return F.interpolate(x, images.shape[2:], mode="bilinear", align_corners=False)


def convolutions(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """3x3 convolutions with batch normalisation and ReLU."""
    steps: list[nn.Module] = []
    for width in widths:
        steps += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*steps)
