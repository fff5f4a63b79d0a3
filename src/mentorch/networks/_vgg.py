"""VGG with batch normalisation for small images (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556, table 1)."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, max pooling before stages 2 to 4, average pool, one linear layer `fc`.

    The form used in distillation benchmarks: a 32x32 image reaches the average pool as a 4x4 map, and the paper's
    two hidden linear layers are left out.

    Args:
        convolutions: convolutions of each stage.
        num_classes: logits.
        in_channels: channels of the images.
        widths: channels of each stage.

    Raises:
        UsageError: if ``convolutions`` and ``widths`` differ in length.
    """

    def __init__(
        self,
        convolutions: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
    ) -> None:
        super().__init__()
        if len(convolutions) != len(widths):
            raise UsageError(f"a VGG of {len(convolutions)} stages needs as many widths, not {list(widths)}")
        self.taps = Taps("layer1.2", tuple(f"layer{i + 1}" for i in range(len(widths))), "fc:in")
        inputs = in_channels
        for i, (count, width) in enumerate(zip(convolutions, widths, strict=True)):
            steps: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if i in (1, 2, 3) else []
            for _ in range(count):
                steps += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            self.add_module(self.taps.stages[i], nn.Sequential(*steps))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        for stage in self.taps.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


vgg8 = partial(VGG, (1, 1, 1, 1, 1))
vgg13 = partial(VGG, (2, 2, 2, 2, 2))
vgg16 = partial(VGG, (2, 2, 3, 3, 3))
vgg19 = partial(VGG, (2, 2, 4, 4, 4))
