import pytest
import torch
from torch import nn

from mentorch.networks import Cost, cost, resnet20, state_hash


def test_closed_form():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 4, 7)
    )
    macs = 8 * 3 * 9 * (5 * 4) + 8 * 5 * 4 * 7
    parameters = 8 * 3 * 9 + 8 + 16 + (8 * 5 * 4 + 1) * 7
    assert cost(network, torch.zeros(1, 3, 10, 8)) == Cost(parameters, macs)
    assert cost(network, torch.zeros(4, 3, 10, 8)).macs == 4 * macs


def test_grouped_convolutions_cost_less():
    example = torch.zeros(1, 6, 4, 4)
    assert cost(nn.Conv2d(6, 6, 3, padding=1, groups=6), example).macs == 6 * 9 * 16


def test_resnet20_at_its_usual_40_million():
    macs = cost(resnet20(), torch.zeros(1, 3, 32, 32)).macs
    # 3x3 convolutions at 32x32, 16x16 and 8x8, then the classifier
    stages = 1024 * 9 * (3 * 16 + 6 * 16 * 16) + 256 * 9 * (16 * 32 + 5 * 32 * 32) + 64 * 9 * (32 * 64 + 5 * 64 * 64)
    assert macs == stages + 640


def test_shared_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3, bias=False)
            self.b = nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    assert cost(Tied(), torch.zeros(1, 3)) == Cost(9, 18)


def test_the_network_is_left_as_it_was():
    network = resnet20()
    network.layer1.eval()  # a frozen part inside a network that trains
    before, modes = state_hash(network), [m.training for m in network.modules()]
    cost(network, torch.randn(2, 3, 8, 8))
    assert state_hash(network) == before
    assert [m.training for m in network.modules()] == modes
    assert not network.conv1._forward_hooks
    with pytest.raises(RuntimeError):
        cost(network, torch.randn(2, 4, 8, 8))
    assert [m.training for m in network.modules()] == modes
