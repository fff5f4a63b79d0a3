"""Residual networks for small images (He et al., Deep Residual Learning, CVPR 2016, arXiv:1512.03385, section 4.2)."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps

Shortcut = Literal["pad", "conv"]


class PadShortcut(nn.Module):
    """Option A of the paper: every ``stride``-th pixel, and zero channels, half before and half after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if outputs < inputs:
            raise UsageError(f"shortcut='pad' cannot go from {inputs} to {outputs} channels: use shortcut='conv'")
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(kind: Shortcut, inputs: int, outputs: int, stride: int) -> nn.Module:
    if kind not in ("pad", "conv"):
        raise UsageError(f"shortcut must be 'pad' or 'conv', not {kind!r}")
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the sum with the input; ``last`` is what follows the sum."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut, last: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(shortcut, inputs, width, stride)
        self.relu2 = last

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, and the sum with the input; ``last`` is what follows the sum."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut, last: nn.Module) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(shortcut, inputs, outputs, stride)
        self.relu3 = last

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        out: Tensor = self.relu3(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """A 3x3 stem, one stage per width (each but the first halves the map), average pool, classifier `fc`.

    Args:
        blocks: residual blocks of each stage.
        num_classes: logits.
        in_channels: channels of the images.
        stem: channels of the stem.
        widths: channels of each stage.
        block: `BasicBlock` or `Bottleneck`.
        shortcut: what crosses a change of shape: `"pad"` has no weights, `"conv"` is a 1x1 convolution and batch norm.
        relu: whether a ReLU follows every sum (`"block"`, the paper) or only the last sum of a stage (`"stage"`).
        pool: side of the pooled map; `fc` reads `widths[-1] * expansion * pool ** 2` numbers.

    Raises:
        UsageError: if ``blocks`` and ``widths`` differ in length, or the shortcut cannot be built.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        stem: int = 16,
        widths: Sequence[int] = (16, 32, 64),
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        shortcut: Shortcut = "pad",
        relu: Literal["block", "stage"] = "block",
        pool: int = 1,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths):
            raise UsageError(f"a residual network of {len(blocks)} stages needs as many widths, not {list(widths)}")
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.taps = Taps("relu", tuple(f"layer{i + 1}" for i in range(len(blocks))), "fc:in")
        channels = [stem, *(width * block.expansion for width in widths)]
        for i, (inputs, outputs) in enumerate(pairwise(channels)):
            steps: list[nn.Module] = []
            for j in range(blocks[i]):
                last = nn.ReLU() if relu == "block" else nn.Identity()
                stride = 2 if i > 0 and j == 0 else 1
                steps.append(block(outputs if j else inputs, widths[i], stride, shortcut, last))
            if relu == "stage":
                steps.append(nn.ReLU())
            self.add_module(self.taps.stages[i], nn.Sequential(*steps))
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self.fc = nn.Linear(channels[-1] * pool**2, num_classes)
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in self.taps.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _blocks(depth: int) -> tuple[int, int, int]:
    if depth < 8 or depth % 6 != 2:
        raise UsageError(f"the depth of a three-stage residual network is 6n + 2 (8, 14, 20, ...), not {depth}")
    return (depth // 6,) * 3


def resnet(
    depth: int,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    stem: int = 16,
    widths: Sequence[int] = (16, 32, 64),
    shortcut: Shortcut = "pad",
) -> ResNet:
    """The CIFAR ResNet of ``depth`` = 6n + 2 layers: three stages of n basic blocks.

    Distillation benchmarks often use ``shortcut="conv"``; the paper's own choice for CIFAR is `"pad"`.

    >>> sum(p.numel() for p in resnet(20).parameters())
    269722
    """
    return ResNet(_blocks(depth), num_classes, in_channels, stem=stem, widths=widths, shortcut=shortcut)


def resnet_karanchahal(depth: int, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """A variant in wide use with distillation code: 64 channels in the stem, no ReLU between the blocks of a stage.

    Stages of 16-32-64 with convolution shortcuts; the classifier reads a 2x2 map (256 numbers).
    """
    return ResNet(_blocks(depth), num_classes, in_channels, stem=64, shortcut="conv", relu="stage", pool=2)


def _four_stages(
    blocks: Sequence[int],
    block: type[BasicBlock] | type[Bottleneck],
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    stem: int = 64,
    widths: Sequence[int] = (64, 128, 256, 512),
) -> ResNet:
    """The paper's ImageNet networks (table 1) with a 3x3 stem and no pooling before the first stage."""
    return ResNet(blocks, num_classes, in_channels, stem=stem, widths=widths, block=block, shortcut="conv")


resnet8 = partial(resnet, 8)
resnet14 = partial(resnet, 14)
resnet20 = partial(resnet, 20)
resnet32 = partial(resnet, 32)
resnet44 = partial(resnet, 44)
resnet56 = partial(resnet, 56)
resnet110 = partial(resnet, 110)
# the wide ones of distillation benchmarks (Tian et al., arXiv:1910.10699): the stem grows twofold, the stages fourfold
resnet8x4 = partial(resnet, 8, stem=32, widths=(64, 128, 256), shortcut="conv")
resnet32x4 = partial(resnet, 32, stem=32, widths=(64, 128, 256), shortcut="conv")
resnet18 = partial(_four_stages, (2, 2, 2, 2), BasicBlock)
resnet34 = partial(_four_stages, (3, 4, 6, 3), BasicBlock)
resnet50 = partial(_four_stages, (3, 4, 6, 3), Bottleneck)
