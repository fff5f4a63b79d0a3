"""MobileNetV2 for small images (Sandler et al., CVPR 2018, arXiv:1801.04381, table 2)."""

from functools import partial

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps

# expansion, channels at width 1, blocks, stride of the first; strides fit 32x32 images rather than 224x224
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow without an activation; add the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = x + y if self.residual else y
        return out


class MobileNetV2(nn.Module):
    """A strided stem, seven stages of inverted residuals, a 1x1 `head`, average pool, `fc`.

    The form used in distillation benchmarks: a 32x32 image ends as a 2x2 map, ReLU instead of ReLU6, and the first
    block keeps its (pointless) 1x1 expansion by one. The narrow ends of the blocks are linear by design, so the stage
    taps, taken where the map is about to shrink, are not activated.

    Args:
        num_classes: logits.
        in_channels: channels of the images.
        width: factor on every width; the head keeps 1280 channels below one, as in the paper.

    Raises:
        UsageError: if ``width`` leaves a stage without channels.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> None:
        super().__init__()
        if int(16 * width) < 1:
            raise UsageError(f"MobileNetV2 needs a width of at least 1/16, not {width}")
        inputs = int(32 * width)
        self.conv1 = nn.Conv2d(in_channels, inputs, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.layers = tuple(f"layer{i + 1}" for i in range(len(_STAGES)))
        for name, (expansion, channels, count, stride) in zip(self.layers, _STAGES, strict=True):
            outputs = int(channels * width)
            first = InvertedResidual(inputs, outputs, stride, expansion)
            rest = (InvertedResidual(outputs, outputs, 1, expansion) for _ in range(count - 1))
            self.add_module(name, nn.Sequential(first, *rest))
            inputs = outputs
        last = max(1280, int(1280 * width))
        self.head = nn.Sequential(nn.Conv2d(inputs, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)
        self.taps = Taps("relu", ("layer2", "layer3", "layer5", "layer7"), "fc:in")
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.layers:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(self.avgpool(self.head(x)).flatten(1))
        return logits


# half width, as in distillation benchmarks
mobilenet_v2 = partial(MobileNetV2, width=0.5)
