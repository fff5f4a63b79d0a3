import pytest
import torch
from torch import nn

from mentorch.networks import mobilenet_v2, resnet20, shufflenet_v1, vgg8


@pytest.mark.parametrize("builder", [resnet20, mobilenet_v2, shufflenet_v1, vgg8])
def test_convolutions_keep_the_variance_of_what_they_read(builder):
    torch.manual_seed(0)
    ratios, counts = [], []
    for module in builder().modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()  # inputs of one output, also when grouped
            ratios.append(module.weight.var(correction=0).item() * fan_in / 2)
            counts.append(module.weight.numel())
            assert module.bias is None or module.bias.abs().sum() == 0
    for ratio, count in zip(ratios, counts, strict=True):
        # the variance of n normal draws has standard deviation sqrt(2 / n); 6 of them
        assert abs(ratio - 1) < 6 * (2 / count) ** 0.5
