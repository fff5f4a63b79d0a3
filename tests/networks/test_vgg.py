import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import VGG, build, vgg8


@pytest.mark.parametrize(
    ("name", "parameters"), [("vgg8", 3_965_028), ("vgg13", 9_462_180), ("vgg16", 14_774_436), ("vgg19", 20_086_692)]
)
def test_sizes_of_distillation_benchmarks(name, parameters):
    network = build(name, num_classes=100)
    assert sum(p.numel() for p in network.parameters()) == parameters
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    # the two hidden linear layers of the paper are gone
    assert len(weighted) == int(name.removeprefix("vgg")) - 2


def test_maps_halve_three_times():
    network = vgg8(widths=(2, 3, 4, 5, 6)).eval()
    sides = []
    for stage in network.taps.stages:
        network.get_submodule(stage).register_forward_hook(lambda m, i, o: sides.append(tuple(o.shape[1:])))
    network(torch.randn(1, 3, 32, 32))
    assert sides == [(2, 32, 32), (3, 16, 16), (4, 8, 8), (5, 4, 4), (6, 4, 4)]


def test_widths_must_match():
    with pytest.raises(UsageError, match="as many widths"):
        VGG((1, 1), widths=(4, 4, 4))
