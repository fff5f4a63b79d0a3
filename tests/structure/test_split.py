import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build, cost
from mentorch.structure import plan, reset, slim, split, zero
from mentorch.structure._split import read_rate

IMAGE = torch.zeros(1, 3, 8, 8)


def test_counts_are_exact_for_every_hundredth_and_every_width():
    for a in range(1, 101):
        rate = read_rate(a / 100)
        assert rate == Fraction(a, 100)
        assert all(math.ceil(rate * n) == -(-a * n // 100) for n in range(1, 2049))
    assert math.ceil(0.55 * 100) == 56  # what would go wrong


@pytest.mark.parametrize("rate", [0, -0.5, 1.01, "half", float("nan")])
def test_rates_that_are_none(rate):
    with pytest.raises(UsageError, match=r"the rate to keep must be (a number|above 0 and at most 1)"):
        read_rate(rate)


@given(st.integers(1, 100), st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_kels_keeps_leading_filters_of_leading_channels(percent, widths):
    network = CNN(5, 4, widths=widths)
    s = split(plan(network, torch.zeros(1, 4, 8, 8)), Fraction(percent, 100))
    kept = [4, *(-(-percent * width // 100) for width in widths)]
    for i, width in enumerate(widths):
        name = f"layer{i + 1}.{min(i, 1)}.weight"
        expected = torch.zeros(width, 4 if i == 0 else widths[i - 1], 3, 3, dtype=torch.bool)
        expected[: kept[i + 1], : kept[i]] = True  # all channels of the images
        assert torch.equal(s.mask(name), expected)
    assert torch.equal(s.mask("fc.weight"), (torch.arange(widths[-1]) < kept[-1]).expand(5, -1))
    assert bool(s.mask("fc.bias").all())


def test_images_with_more_channels_are_whole_and_narrow_layers_are_not():
    network = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    s = split(plan(network, torch.zeros(1, 4, 8, 8)))
    assert [int(s.mask(f"{i}.weight").sum()) for i in range(3)] == [2 * 4, 4 * 2, 2 * 4]


def test_concatenation_keeps_the_front_of_each_part():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(9, 2, 1)

        def forward(self, x):
            return self.c(torch.cat([self.a(x), self.b(x)], 1))

    s = split(plan(Joined(), IMAGE))
    assert s.mask("c.weight")[0].flatten().tolist() == [True, True, False, False, True, True, True, False, False]


def test_groups_keep_as_many_each():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 5, 1))
    s = split(plan(network, IMAGE))
    assert s.kept["0"] == (0, 2, 4, 6)
    assert s.kept["1"] == (0, 1, 3, 4, 6, 7, 9, 10)
    assert s.mask("1.weight").flatten(1)[:3].tolist() == [[True, False], [True, False], [False, False]]


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "shufflenet_v2"])
def test_random_channels_are_as_many_as_the_first_and_depend_on_the_seed_alone(name, lively, exact):
    network = lively(build(name, num_classes=4))
    p = plan(network, IMAGE)
    first, one, same, other = (
        split(p, 0.4, mode=mode, seed=seed) for mode, seed in (("kels", 1), ("random", 1), ("random", 1), ("random", 2))
    )
    assert one.kept == same.kept
    assert len({str(s.kept) for s in (first, one, other)}) == 3
    assert one.shapes == other.shapes == first.shapes
    reset(network, one, law=zero)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(exact(slim(network, one), x), exact(network, x))


def test_where_rounding_per_space_does_not_fit_all_are_cut_in_proportion():
    p = plan(build("shufflenet_v1", num_classes=7), IMAGE)
    s = split(p, 0.8)
    mixed = [space for space in p.spaces if space.bundle == p.spaces[1].bundle]
    assert {Fraction(len(s.kept[space.name]), space.size) for space in mixed} == {Fraction(7, 8)}
    assert {len(split(p, 0.5).kept[space.name]) / space.size for space in mixed} == {0.5}


@given(st.integers(1, 100), st.integers(0, 3))
def test_wels_keeps_an_exact_count_of_its_own_seed(percent, seed):
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    s = split(p, percent / 100, mode="wels", seed=seed)
    for name in p.layers:
        n = math.prod(p.shapes[name])
        assert int(s.mask(name).sum()) == round(Fraction(percent, 100) * n)
        assert torch.equal(s.mask(name), s.mask(name))
    assert bool(s.mask("layer1.1.weight").all())


def test_wels_depends_on_the_seed_and_on_nothing_else():
    p = plan(CNN(5, widths=(6, 10)), IMAGE)
    torch.manual_seed(0)
    one = split(p, 0.5, mode="wels", seed=1).mask("fc.weight")
    torch.manual_seed(9)
    assert torch.equal(one, split(p, 0.5, mode="wels", seed=1).mask("fc.weight"))
    assert not torch.equal(one, split(p, 0.5, mode="wels", seed=2).mask("fc.weight"))
    state = torch.random.get_rng_state()
    split(p, 0.5, mode="wels").mask("fc.weight")
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_weight_is_taken_exactly_where_its_mask_is_true():
    network = build("shufflenet_v2", num_classes=7)
    s = split(plan(network, IMAGE), 0.3)
    for name, tensor in network.state_dict().items():
        values = torch.arange(tensor.numel()).view(tensor.shape)
        assert sorted(s.take(name, values).flatten().tolist()) == values[s.mask(name)].tolist()


def test_keeping_everything_is_the_network_itself():
    network = build("resnet8", num_classes=7)
    s = split(plan(network, IMAGE), 1)
    small = slim(network, s)
    assert all(torch.equal(small.state_dict()[name], x) for name, x in network.state_dict().items())
    assert s.recipe()["shapes"] == s.recipe()["kept"] == {}


def test_describe_counts_what_the_slim_network_has():
    network = CNN(5, widths=(6, 10))
    s = split(plan(network, IMAGE))
    small = cost(slim(network, s), IMAGE)
    lines = s.describe().splitlines()
    assert lines[1].split() == ["layer1.0.weight", "162", "81", "50.0"]
    assert lines[-3].split()[:4] == ["all", "layers", "752", "241"]  # 162 + 540 + 50, 81 + 135 + 25
    assert lines[-2].split()[0::2] == ["parameters", f"{small.parameters:,}"]
    assert lines[-1].split()[:3] == ["multiply-adds", f"{cost(network, IMAGE).macs:,}", f"{small.macs:,}"]
    assert "parameters" not in split(s.plan, mode="wels").describe()


def test_modes_that_do_not_exist():
    with pytest.raises(UsageError, match="mode must be 'kels'"):
        split(plan(nn.Linear(3, 4), torch.zeros(1, 3)), mode="both")
