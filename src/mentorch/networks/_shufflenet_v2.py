"""ShuffleNet V2 for small images (Ma et al., ECCV 2018, arXiv:1807.11164, figure 3 and table 5)."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps

_STEM = 24


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [convolution, nn.BatchNorm2d(channels)]


class SplitUnit(nn.Module):
    """Half of the channels pass, the other half is convolved; then both are shuffled (figure 3c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.right = nn.Sequential(*_pointwise(half, half), *_depthwise(half, 1), *_pointwise(half, half))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return F.channel_shuffle(torch.cat([left, self.right(right)], dim=1), 2)


class DownUnit(nn.Module):
    """Both branches see every channel and halve the map (figure 3d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(*_depthwise(inputs, 2), *_pointwise(inputs, half))
        self.right = nn.Sequential(*_pointwise(inputs, half), *_depthwise(half, 2), *_pointwise(half, half))

    def forward(self, x: Tensor) -> Tensor:
        return F.channel_shuffle(torch.cat([self.left(x), self.right(x)], dim=1), 2)


class ShuffleNetV2(nn.Module):
    """A 1x1 stem, three stages that halve the map, a 1x1 `head`, average pool, `fc`.

    The form used in distillation benchmarks: the unit that shrinks comes on top of the paper's 3, 7 and 3.

    Args:
        num_classes: logits.
        in_channels: channels of the images.
        widths: channels of each stage, even.
        blocks: units of each stage, not counting the one that shrinks.
        head: channels of the last convolution.

    Raises:
        UsageError: if a width is odd, or there are not three stages.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        widths: Sequence[int],
        blocks: Sequence[int] = (3, 7, 3),
        head: int = 1024,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(blocks) != 3 or any(width % 2 for width in widths):
            raise UsageError(f"ShuffleNetV2 has three stages of even width, not {list(widths)} x {list(blocks)}")
        self.conv1 = nn.Conv2d(in_channels, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU()
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(DownUnit(before, width), *(SplitUnit(width) for _ in range(count)))
            for before, width, count in zip((_STEM, *widths[:2]), widths, blocks, strict=True)
        )
        self.head = nn.Sequential(*_pointwise(widths[-1], head))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(head, num_classes)
        self.taps = Taps("relu", ("layer1", "layer2", "layer3"), "fc:in")
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.head(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


shufflenet_v2 = partial(ShuffleNetV2, widths=(116, 232, 464))
