import copy
from fractions import Fraction

import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build, cost
from mentorch.structure import plan, prune, reset, resize, slim, split, zero

IMAGE = torch.zeros(1, 3, 8, 8)
NAMES = ("resnet20", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2", "vgg8")


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("of", ["parameters", "macs"])
@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_met_and_not_missed_by_more_than_a_removal(name, of, scope):
    network = build(name, num_classes=7)
    p = plan(network, IMAGE)
    s = prune(network, p, to=0.45, of=of, scope=scope)
    which = of == "macs"
    whole, left = p.cost(p.shapes)[which], p.cost(s.shapes)[which]
    small = cost(slim(network, s), IMAGE)
    assert left == (small.macs if which else small.parameters)
    # what the largest space can lose at once: one channel of each group, of every space that is mixed with it
    more = {space.bundle: dict.fromkeys((), 0) for space in p.spaces}
    for space in p.spaces:
        more[space.bundle][space.name] = min(len(s.kept[space.name]) + p.step(space), space.size)
    widths = {space.name: len(s.kept[space.name]) for space in p.spaces}
    largest = max(p.cost(p.shapes_at(widths | wider))[which] for wider in more.values())
    assert left <= 0.45 * whole < largest + (0.01 * whole if "shuffle" in name else 0)


def test_the_channels_with_the_smallest_norm_go_first():
    network = CNN(5, widths=(6, 10))
    s = prune(network, plan(network, IMAGE), by="l1", to=0.5, of="channels", scope="layer")
    first, second, head = network.layer1[0].weight, network.layer2[1].weight, network.fc.weight
    makes = first.abs().sum((1, 2, 3)), second.abs().sum((1, 2, 3))
    reads = second.abs().sum((0, 2, 3)), head.abs().sum(0)
    for name, made, read in zip(("layer1.0", "layer2.1"), makes, reads, strict=True):
        score = made / made.mean() + read / read.mean()
        best = score.argsort(descending=True)[: len(s.kept[name])].sort().values
        assert s.kept[name] == tuple(best.tolist())


def test_global_ranking_empties_weak_layers_first_but_never_wholly():
    network = CNN(5, widths=(8, 8))
    p = plan(network, IMAGE)
    values = torch.ones(len(p.space_of))
    values[3:11] = 0.1 + torch.arange(8) / 100  # layer1.0 follows the three channels of the images
    s = prune(network, p, by=values, to=Fraction(9, 16), of="channels")
    assert s.kept["layer1.0"] == (7,)
    assert len(s.kept["layer2.1"]) == 8
    assert len(prune(network, p, by=values, to=Fraction(2, 16), of="channels").kept["layer2.1"]) == 1
    with pytest.raises(UsageError, match=r"cannot prune to 0.01 of the channels: 0.125 is the least"):
        prune(network, p, by=values, to=0.01, of="channels")


@pytest.mark.parametrize("by", ["l1", "l2", "bn", "taylor", "random"])
@pytest.mark.parametrize("name", ["resnet20", "shufflenet_v2", "mobilenet_v2"])
def test_what_is_left_computes_the_same_where_the_rest_is_zero(name, by, lively, exact):
    network = lively(build(name, num_classes=7))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    network(x).square().sum().backward()
    s = prune(network, plan(network, x), by=by, to=0.4)
    forgetful = copy.deepcopy(network)
    reset(forgetful, s, law=zero)
    small = slim(forgetful, s)
    assert torch.equal(exact(forgetful, x), exact(small, x))
    rebuilt = resize(build(name, num_classes=7).double(), s.recipe()).eval()
    rebuilt.load_state_dict(small.state_dict())
    assert torch.equal(exact(rebuilt, x), exact(small, x))


def test_it_is_repeatable_and_the_network_stays_as_it_is():
    network = build("resnet8", num_classes=7)
    p, before = plan(network, IMAGE), copy.deepcopy(network.state_dict())
    one, two, three = (prune(network, p, by="random", to=0.5, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.kept != three.kept
    assert all(torch.equal(before[name], x) for name, x in network.state_dict().items())


def test_pruning_in_rounds():
    network = build("resnet8", num_classes=7)
    whole = cost(network, IMAGE).parameters
    for _ in range(3):
        network = slim(network, prune(network, plan(network, IMAGE), to=0.8))
    assert 0.4 < cost(network, IMAGE).parameters / whole <= 0.512


def test_pinned_channels_stay():
    network = build("resnet8", num_classes=7)
    s = prune(network, plan(network, IMAGE, pin=["conv1"]), to=0.6)
    assert len(s.kept["conv1"]) == 16


def test_errors():
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    with pytest.raises(UsageError, match="the plan is of another network"):
        prune(CNN(6, widths=(6, 10)), p, to=0.5)
    with pytest.raises(UsageError, match="'parameters', 'macs' or 'channels', not 'time'"):
        prune(network, p, to=0.5, of="time")
    with pytest.raises(UsageError, match="scope must be"):
        prune(network, p, to=0.5, scope="local")
    with pytest.raises(UsageError, match="scores must be 24 finite numbers"):
        prune(network, p, by=torch.ones(3), to=0.5)
    with pytest.raises(UsageError, match="not 0"):
        prune(network, p, to=0)
    assert split(p, 0.5).kept == prune(network, p, by=-torch.arange(24.0), to=0.5, of="channels", scope="layer").kept


def test_networks_of_one_layer_have_nothing_to_lose():
    network = nn.Linear(4, 3)
    with pytest.raises(UsageError, match=r"1\.000 is the least"):
        prune(network, plan(network, torch.zeros(1, 4)), to=0.5)
