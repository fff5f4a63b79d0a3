"""In front of every network of a zoo, so that all may be shown the same images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.data import Resize
from mentorch.zoo._card import Card, Input

_RESIZES = (None, "stretch", "crop")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Prepare(nn.Module):
    """From images in [0, 1], gray or RGB, of any size, to what a network expects to be fed.

    Channels, size, order, range and normalisation, in this turn. Gray images are repeated for a network that reads
    three channels; for one that reads gray, colours become brightness (ITU-R BT.601).

    Args:
        expected: from the card of the network. Its ``resize`` is ``stretch`` (or nothing), or ``crop``: the shorter
            side is brought to size and the centre cut out.

    Raises:
        UsageError: for another order of channels or way to resize; in ``forward``, for integers, other channels, or
            anything but images.

    >>> prepare = Prepare(Input(3, (4, 4), (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), order="bgr", range=(0.0, 255.0)))
    >>> prepare(torch.ones(1, 1, 8, 8))[0, :, 0, 0]
    tensor([151., 138., 132.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, expected: Input) -> None:
        super().__init__()
        channels = {"gray": 1, "rgb": 3, "bgr": 3}.get(expected.order)
        if channels != expected.channels:
            raise UsageError(
                f"images cannot be given to a network that reads {expected.channels} channels as {expected.order!r}: "
                "known are rgb, bgr (3) and gray (1)"
            )
        if expected.resize not in _RESIZES:
            raise UsageError(f"unknown way to resize {expected.resize!r}: known are stretch and crop")
        self.expected = expected
        self.resize = Resize(expected.size)
        self.register_buffer("mean", torch.tensor(expected.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(expected.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """``images``, shape `[N, 1 or 3, H, W]`, as the network expects them, `[N, C, height, width]`."""
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise UsageError(f"needs images in [0, 1], [N, 1 or 3, H, W], got {images.dtype} {list(images.shape)}")
        x = self.resize(self._cut(_channels(images, self.expected.channels)))
        if self.expected.order == "bgr":
            x = x.flip(1)
        low, high = self.expected.range
        fed: Tensor = (x * (high - low) + low - self.mean) / self.std
        return fed

    def _cut(self, images: Tensor) -> Tensor:
        """The largest centred part with the proportions that the network expects, if it wants images cropped."""
        if self.expected.resize != "crop":
            return images
        (height, width), size = self.resize.size, images.shape[2:]
        scale = min(size[0] / height, size[1] / width)
        kept = [max(1, round(side * scale)) for side in (height, width)]
        top, left = ((whole - part) // 2 for whole, part in zip(size, kept, strict=True))
        return F.pad(images, (-left, left + kept[1] - size[1], -top, top + kept[0] - size[0]))


def prepared(network: nn.Module, card: Card) -> nn.Sequential:
    """The network with what its card says it is fed in front, so that it reads images in [0, 1] of any size.

    Addresses in it begin with ``network.``. Where the card says nothing of the input, images pass as they are.

    Raises:
        UsageError: if it reads images of a kind that cannot be made.
    """
    front = Prepare(card.input) if card.input is not None else _Channels(card.arguments.get("in_channels", 3))
    whole = nn.Sequential()
    whole.add_module("prepare", front)
    whole.add_module("network", network)
    return whole


class _Channels(nn.Module):
    """All that is known of the input: its number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"images cannot be given to a network that reads {channels} channels: known are 1 and 3")
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        return _channels(images, self.channels)


def _channels(images: Tensor, wanted: int) -> Tensor:
    if images.shape[1] == wanted:
        return images
    if wanted == 3:
        return images.expand(-1, 3, -1, -1)
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
