"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016, arXiv:1605.07146, table 1)."""

from functools import partial

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps


class PreactivationBlock(nn.Module):
    """Normalise, activate, convolve, twice; where the width changes the shortcut reads the activated input."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.changes = inputs != width or stride != 1
        self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False) if self.changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        y = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        out: Tensor = y + self.shortcut(activated if self.changes else x)
        return out


class WideResNet(nn.Module):
    """A 3x3 stem of 16 channels, three stages of 16k-32k-64k, a last batch norm and ReLU, average pool, `fc`.

    The sums between stages are not activated, so the stage taps are the ReLUs that read them: `layer2.0.relu1` is the
    activated map of stage 1.
    """

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_channels: int = 3, *, stem: int = 16) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4 or width < 1:
            raise UsageError(
                f"a wide residual network has 6n + 4 layers (10, 16, ...) and width >= 1, not {depth}-{width}"
            )
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        channels = (stem, 16 * width, 32 * width, 64 * width)
        self.layer1 = _stage(depth // 6, channels[0], channels[1], 1)
        self.layer2 = _stage(depth // 6, channels[1], channels[2], 2)
        self.layer3 = _stage(depth // 6, channels[2], channels[3], 2)
        self.bn1 = nn.BatchNorm2d(channels[3])
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[3], num_classes)
        self.taps = Taps("layer1.0.relu1", ("layer2.0.relu1", "layer3.0.relu1", "relu"), "fc:in")
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))
        return logits


def _stage(blocks: int, inputs: int, width: int, stride: int) -> nn.Sequential:
    rest = (PreactivationBlock(width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(PreactivationBlock(inputs, width, stride), *rest)


def wrn(depth: int, width: int, num_classes: int = 10, in_channels: int = 3, *, stem: int = 16) -> WideResNet:
    """WRN-depth-width.

    Args:
        depth: layers, 6n + 4.
        width: the factor k on the widths 16-32-64.
        num_classes: logits.
        in_channels: channels of the images.
        stem: channels of the first convolution.

    Raises:
        UsageError: for a depth that is not 6n + 4, or a width below one.
    """
    return WideResNet(depth, width, num_classes, in_channels, stem=stem)


wrn_10_1 = partial(wrn, 10, 1)
wrn_16_1 = partial(wrn, 16, 1)
wrn_16_2 = partial(wrn, 16, 2)
wrn_28_1 = partial(wrn, 28, 1)
wrn_28_2 = partial(wrn, 28, 2)
wrn_40_1 = partial(wrn, 40, 1)
wrn_40_2 = partial(wrn, 40, 2)
