import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build
from mentorch.structure import merge, plan, prune, slim


class Joined(nn.Module):
    """A concatenation, a transposed convolution, flattened positions: channels that do not stay in blocks."""

    def __init__(self, classes):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)
        self.up = nn.ConvTranspose2d(9, 3, 2, 2)
        self.c = nn.Conv2d(12, 6, 3, 2, dilation=2)
        self.fc = nn.Linear(6 * 4, classes)

    def forward(self, x):
        x = torch.cat([self.a(x), self.b(x)], 1)
        x = torch.cat([F.relu(self.up(x))[..., ::2, ::2], x], 1)
        return self.fc(F.adaptive_avg_pool2d(self.c(x), 2).flatten(1))


def teachers(make, lively, classes):
    torch.manual_seed(0)
    return [lively(make(k)) for k in classes]


NAMES = ("resnet8", "resnet8x4", "wrn_10_1", "vgg8", "mobilenet_v2", "cnn_small")


@pytest.mark.parametrize("name", NAMES)
def test_the_merged_network_computes_every_teacher_to_the_bit(name, lively, exact):
    networks = teachers(lambda k: build(name, num_classes=k), lively, (7, 3))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    merged = merge(networks, x)
    assert type(merged) is type(networks[0])
    assert torch.equal(exact(merged, x), torch.cat([exact(network, x) for network in networks], 1))
    torch.testing.assert_close(merged(x), torch.cat([network(x) for network in networks], 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_concatenations_and_any_number_of_teachers(count, lively):
    networks = teachers(Joined, lively, range(3, 3 + count))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = torch.cat([network(x) for network in networks], 1)
    torch.testing.assert_close(merge(networks, x)(x), expected, rtol=1e-10, atol=1e-10)


def test_norms_of_one_channel(lively):
    first, second = teachers(
        lambda k: nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, k, 1)), lively, (2, 3)
    )
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(merge([first, second], x)(x), torch.cat([first(x), second(x)], 1))


def test_blocks_are_on_the_diagonal_and_the_first_layer_is_stacked():
    networks = [CNN(2, widths=(3, 4)), CNN(5, widths=(3, 4))]
    merged = merge(networks, torch.zeros(1, 3, 8, 8))
    assert torch.equal(merged.layer1[0].weight, torch.cat([network.layer1[0].weight for network in networks]))
    weight = merged.layer2[1].weight
    assert torch.equal(weight[:4, :3], networks[0].layer2[1].weight)
    assert torch.equal(weight[4:, 3:], networks[1].layer2[1].weight)
    assert not weight[4:, :3].any()
    assert not weight[:4, 3:].any()
    assert merged.fc.weight.shape == (7, 8)


def test_teachers_stay_as_they_are_and_share_nothing():
    networks = [CNN(2, widths=(3, 4)), CNN(2, widths=(3, 4))]
    before = copy.deepcopy([network.state_dict() for network in networks])
    merged = merge(networks, torch.zeros(1, 3, 8, 8))
    with torch.no_grad():
        for tensor in merged.state_dict().values():
            tensor.zero_()
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(state[name], x) for name, x in network.state_dict().items())


def test_what_is_merged_can_be_pruned():
    networks = [CNN(2, widths=(8, 8)), CNN(2, widths=(8, 8))]
    x = torch.zeros(1, 3, 8, 8)
    merged = merge(networks, x)
    small = slim(merged, prune(merged, plan(merged, x), to=0.5))
    assert small(x).shape == (1, 4)
    whole, left = (sum(p.numel() for p in network.parameters()) for network in (merged, small))
    assert 0.4 < left / whole <= 0.5


def test_what_cannot_be_merged():
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UsageError, match="network 1 is of another architecture than network 0"):
        merge([CNN(2, widths=(3, 4)), CNN(2, widths=(3, 5))], x)
    with pytest.raises(UsageError, match=r"'layer1.0.conv3.weight' is a grouped convolution"):
        merge([build("shufflenet_v1", num_classes=2)] * 2, x)
    normed = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    with pytest.raises(UsageError, match="channels of '0' cannot be put side by side: normalised together"):
        merge([normed, normed], x)
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([], x)
