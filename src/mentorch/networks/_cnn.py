"""Plain convolutional networks of a few hundred to a hundred thousand parameters, for digits and for the impatient."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._init import kaiming
from mentorch.networks._taps import Taps


class CNN(nn.Module):
    """One 3x3 convolution, batch norm and ReLU per width, max pooling between them, average pool, `fc`.

    Args:
        num_classes: logits.
        in_channels: channels of the images.
        widths: channels of each stage.

    Raises:
        UsageError: if there is no width.

    >>> sum(p.numel() for p in CNN(10, 1, widths=(4, 8)).parameters())
    438
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths:
            raise UsageError("a CNN needs at least one width")
        self.taps = Taps("layer1", tuple(f"layer{i + 1}" for i in range(len(widths))), "fc:in")
        inputs = in_channels
        for name, width in zip(self.taps.stages, widths, strict=True):
            pool = [] if name == "layer1" else [nn.MaxPool2d(2, ceil_mode=True)]
            convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            self.add_module(name, nn.Sequential(*pool, convolution, nn.BatchNorm2d(width), nn.ReLU()))
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        for stage in self.taps.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


cnn_tiny = partial(CNN, widths=(4, 8))
cnn_small = partial(CNN, widths=(16, 32))
cnn_medium = partial(CNN, widths=(32, 64, 128))
