"""ShuffleNet for small images (Zhang et al., CVPR 2018, arXiv:1707.01083, table 1)."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps

_STEM = 24


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; a stride joins the pooled input, otherwise it is added."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        made = outputs - inputs if stride == 2 else outputs
        middle = made // 4
        # the few channels of the stem are not split into groups (section 3.2)
        self.groups = 1 if inputs == _STEM else groups
        self.conv1 = nn.Conv2d(inputs, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, made, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(made)
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(F.channel_shuffle(y, self.groups))))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu3(x + y if self.pool is None else torch.cat([y, self.pool(x)], dim=1))
        return out


class ShuffleNetV1(nn.Module):
    """A 1x1 stem, three stages that halve the map, average pool, `fc`: the form used in distillation benchmarks.

    Args:
        num_classes: logits.
        in_channels: channels of the images.
        widths: channels of each stage.
        blocks: units of each stage.
        groups: groups of the 1x1 convolutions.

    Raises:
        UsageError: if the widths do not grow, or cannot be split into 4 x ``groups``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        widths: Sequence[int],
        blocks: Sequence[int] = (4, 8, 4),
        groups: int = 3,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(blocks) != 3:
            raise UsageError(f"ShuffleNet has three stages, not widths={list(widths)} and blocks={list(blocks)}")
        before = (_STEM, *widths[:2])
        if any(b >= w or (w - b) % (4 * groups) or w % (4 * groups) for b, w in zip(before, widths, strict=True)):
            raise UsageError(
                f"ShuffleNet widths must grow from {_STEM} in multiples of {4 * groups}, not {list(widths)}"
            )
        self.conv1 = nn.Conv2d(in_channels, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU()
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(ShuffleUnit(b, w, 2, groups), *(ShuffleUnit(w, w, 1, groups) for _ in range(count - 1)))
            for b, w, count in zip(before, widths, blocks, strict=True)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        self.taps = Taps("relu", ("layer1", "layer2", "layer3"), "fc:in")
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


shufflenet_v1 = partial(ShuffleNetV1, widths=(240, 480, 960))
