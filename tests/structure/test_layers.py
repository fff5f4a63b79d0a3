import copy

import pytest
import torch
from torch import nn

from mentorch.structure import SplitConv2d, SplitLinear, plan, slim, split


def test_a_hand_built_network_agrees_with_its_plan():
    network = nn.Sequential(
        SplitConv2d(3, 7, 3, padding=1, keep=0.55, whole_input=True),
        nn.BatchNorm2d(7),
        SplitConv2d(7, 8, 3, padding=1, keep=0.55),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        SplitLinear(8, 5, keep=0.55, whole_output=True),
    )
    s = split(plan(network, torch.zeros(1, 3, 8, 8)), 0.55)
    for i in (0, 2, 5):
        assert torch.equal(network[i].split.mask("weight"), s.mask(f"{i}.weight"))


@pytest.mark.parametrize("mode", ["kels", "wels"])
@pytest.mark.parametrize("layer", [SplitConv2d(4, 6, 3, groups=2), SplitLinear(9, 7), SplitConv2d(3, 4, 1, bias=False)])
def test_reset_keeps_the_fit_part(layer, mode):
    layer = copy.deepcopy(layer)
    layer.split = split(layer.split.plan, 0.5, mode=mode)
    before = layer.weight.detach().clone()
    layer.reset(seed=3)
    mask = layer.split.mask("weight")
    assert torch.equal(before[mask], layer.weight[mask])
    assert (before[~mask] != layer.weight[~mask]).all()


def test_they_are_ordinary_layers():
    layer = SplitConv2d(4, 6, 3, stride=2, padding=1, keep=0.5)
    x = torch.randn(2, 4, 8, 8)
    plain = nn.Conv2d(4, 6, 3, 2, 1)
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(plain(x), layer(x))
    assert slim(layer, layer.split)(x[:, :2]).shape == (2, 3, 4, 4)
