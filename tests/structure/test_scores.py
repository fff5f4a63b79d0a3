import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build
from mentorch.structure import plan, scores

IMAGE = torch.zeros(1, 3, 8, 8)


def middle(p, values, name):
    space = next(space for space in p.spaces if space.name == name)
    return values[space.start : space.start + space.size]


@pytest.mark.parametrize("by", ["l1", "l2", "taylor"])
def test_slices_of_what_makes_and_what_reads_a_channel(by):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.Conv2d(6, 2, 1))
    network(torch.randn(2, 3, 8, 8)).square().sum().backward()
    p = plan(network, IMAGE)

    def local(weight):
        weight, gradient = weight.detach().double(), weight.grad.double()
        return {"l1": weight.abs(), "l2": weight.square(), "taylor": weight * gradient}[by]

    a, b = local(network[0].weight), local(network[2].weight)
    made = torch.stack([a[i].sum().abs() for i in range(8)])
    # the first three filters read channels 0 to 3, the others channels 4 to 7
    read = torch.stack([b[3 * (i // 4) : 3 * (i // 4) + 3, i % 4].sum().abs() for i in range(8)])
    expected = (made / made.mean() + read / read.mean()) / 2
    torch.testing.assert_close(middle(p, scores(network, p, by), "0"), expected, rtol=1e-5, atol=1e-6)


def test_batch_norm_scales(lively):
    network = lively(CNN(5, widths=(6, 10)))
    p = plan(network, IMAGE)
    scale = network.layer2[2].weight.detach().abs()
    torch.testing.assert_close(middle(p, scores(network, p, "bn"), "layer2.1"), scale / scale.mean())
    with pytest.raises(UsageError, match="channels of '0' pass no batch norm"):
        scores(q := nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), plan(q, IMAGE), "bn")


@pytest.mark.parametrize("by", ["l1", "l2", "bn"])
def test_spaces_are_comparable(by, lively):
    network = lively(build("resnet8", num_classes=7))
    p = plan(network, IMAGE)
    values = scores(network, p, by)
    for space in p.spaces:
        if not space.pinned:
            assert abs(float(values[space.start : space.start + space.size].mean()) - 1) < 1e-9


def test_scaling_a_layer_changes_nothing():
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    before = scores(network, p)
    with torch.no_grad():
        network.layer1[0].weight *= 7
    torch.testing.assert_close(scores(network, p), before)


def test_random_scores_have_a_seed():
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    assert torch.equal(scores(network, p, "random", seed=1), scores(network, p, "random", seed=1))
    assert not torch.equal(scores(network, p, "random", seed=1), scores(network, p, "random", seed=2))


def test_errors():
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    with pytest.raises(UsageError, match=r"'layer1.0.weight' has no gradient: call backward\(\)"):
        scores(network, p, "taylor")
    with pytest.raises(UsageError, match=r"unknown importance 'l3': .*l1, l2"):
        scores(network, p, "l3")
