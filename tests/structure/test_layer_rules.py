import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.structure import plan, slim, split

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
quick = settings(max_examples=12)


def sides(dims: int) -> torch.Tensor:
    """A small input whose sides differ."""
    return torch.randn(1, 3, *range(6, 6 + dims), dtype=torch.float64)


def between(layer: nn.Module, before: int, after: int, dims: int) -> nn.Module:
    """Convolutions of a pixel around a layer, whose channels are thus nobody's ends."""
    conv = CONVOLUTIONS[dims - 1]
    network = nn.Sequential(conv(3, before, 1), layer, conv(after, 2, 1)).double().eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)  # also running variances
    return network


@st.composite
def options(draw, dims):
    """Keywords of a convolution that may differ from dimension to dimension."""
    each = st.tuples(*[st.integers(1, 3)] * dims)
    return {
        "kernel_size": draw(each),
        "stride": draw(each),
        "dilation": draw(st.tuples(*[st.integers(1, 2)] * dims)),
        "bias": draw(st.booleans()),
    }


@quick
@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_convolutions_of_any_kind(follows, data, dims, groups, read, made):
    padding = data.draw(st.one_of(st.just("valid"), st.integers(0, 2)))
    mode = data.draw(st.sampled_from(["zeros", "replicate"]))
    given_ = data.draw(options(dims))
    layer = CONVOLUTIONS[dims - 1](
        groups * read, groups * made, groups=groups, padding=padding, padding_mode=mode, **given_
    )
    network = between(layer, groups * read, groups * made, dims)
    _, _, small = follows(network, sides(dims), 0.6, data.draw(st.integers(0, 99)))
    assert (small[0].out_channels, small[2].in_channels) == (small[1].in_channels, small[1].out_channels)


@quick
@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_transposed_convolutions(follows, data, dims, read, made):
    given_ = data.draw(options(dims))
    extra = data.draw(st.integers(0, 1))
    assume(all(extra < max(pair) for pair in zip(given_["stride"], given_["dilation"], strict=True)))
    layer = TRANSPOSED[dims - 1](read, made, output_padding=extra, padding=data.draw(st.integers(0, 1)), **given_)
    follows(between(layer, read, made, dims), sides(dims), 0.6, data.draw(st.integers(0, 99)))


@quick
@given(st.integers(1, 3), st.integers(2, 6), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_a_filter_of_its_own_channel_goes_and_stays_with_it(follows, dims, width, filters, transposed, seed):
    made = width if transposed else width * filters
    kind = (TRANSPOSED if transposed else CONVOLUTIONS)[dims - 1]
    network = between(kind(width, made, 3, padding=1, groups=width), width, made, dims)
    p, _, small = follows(network, sides(dims), 0.5, seed)
    assert [space.size for space in p.spaces if not space.pinned] == [width]
    assert small[1].groups == small[0].out_channels == math.ceil(width / 2)


@quick
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_linear_layers_read_the_last_dimension_whatever_is_before_it(follows, shape, width, bias, seed):
    network = nn.Sequential(nn.Linear(3, width, bias), nn.Tanh(), nn.Linear(width, 2)).double()
    follows(network, torch.randn(1, *shape, 3, dtype=torch.float64), 0.5, seed)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda dims: NORMS[dims - 1](5),
        lambda dims: NORMS[dims - 1](5, affine=False),
        lambda dims: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1](5, affine=True),
        lambda dims: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1](5),
        lambda dims: nn.PReLU(5),
        lambda dims: nn.PReLU(),  # one slope for all channels is nobody's
    ],
    ids=["batch norm", "without weights", "instance norm", "nor here", "prelu", "one slope"],
)
def test_numbers_of_a_channel_go_with_it(follows, make, dims):
    _, other, small = follows(between(make(dims), 5, 5, dims), sides(dims), 0.6)
    assert small[0].out_channels == getattr(small[1], "num_features", 3) == 3
    assert not torch.equal(other[0].weight, small[0].weight)


@pytest.mark.parametrize(
    "layer",
    [nn.GroupNorm(2, 6), nn.LayerNorm([6, 6, 7]), nn.LocalResponseNorm(3), nn.RMSNorm([6, 6, 7])],
    ids=lambda layer: type(layer).__name__,
)
def test_channels_that_share_statistics_stay(layer):
    p = plan(between(layer, 6, 6, 2), sides(2))
    assert [space.pinned for space in p.spaces if space.name == "0"] == [
        "normalised together with others by module '1'"
    ]


class Attentive(nn.Module):
    def __init__(self, width=8, **given_):
        super().__init__()
        self.before, self.mlp = nn.Linear(3, width), nn.Linear(width, 5)
        self.attention, self.after = nn.MultiheadAttention(width, 2, **given_), nn.Linear(5, 2)

    def forward(self, x):
        x = self.before(x)
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.after(self.mlp(x).relu())


@pytest.mark.parametrize("first", [True, False], ids=["batch first", "sequence first"])
def test_attention_of_torch_stays_whole_and_its_neighbours_are_cut(first, cut):
    network = Attentive(batch_first=first).double().eval()
    x = torch.randn(*((1, 4) if first else (4, 1)), 3, dtype=torch.float64)
    p = plan(network, x)
    assert {space.name: bool(space.pinned) for space in p.spaces} == {
        "input": True,
        "before": True,
        "attention.out_proj": True,
        "mlp": False,
        "after": True,
    }
    dense, small = cut(network, split(p, 0.5))
    assert small.mlp.out_features == 3
    torch.testing.assert_close(small(x), dense(x), rtol=1e-10, atol=1e-10)
    # projections to queries, keys and values, and back, at each of four positions
    assert p.layers["attention.in_proj_weight"] == p.layers["attention.out_proj.weight"] == 4


def test_a_layer_that_is_applied_twice_counts_twice():
    layer = nn.Linear(4, 4)
    p = plan(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 3, 4))
    assert p.layers == {"0.weight": 6}


@pytest.mark.parametrize(
    ("network", "example", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 1)),
            torch.zeros(3, 8, 8),
            "module '0' reads a tensor without a batch dimension",
        ),
        (nn.Sequential(nn.ConvTranspose1d(3, 4, 1)), torch.zeros(3, 8), "module '0' reads a tensor without a batch"),
        (
            nn.Sequential(nn.ConvTranspose2d(4, 4, 1, groups=2)),
            torch.zeros(1, 4, 8, 8),
            "module '0' is a transposed convolution of 2 groups, for which there is no rule",
        ),
        (
            nn.Sequential(nn.ConvTranspose2d(4, 8, 1, groups=4)),
            torch.zeros(1, 4, 8, 8),
            "module '0' is a transposed convolution with several filters per channel: no rule",
        ),
    ],
)
def test_what_has_no_rule_is_named(network, example, message):
    with pytest.raises(UsageError, match=message) as caught:
        plan(network, example)
    assert "\n" not in str(caught.value)


def test_slim_convolutions_say_their_groups():
    network = between(nn.Conv2d(8, 12, 1, groups=4), 8, 12, 2)
    small = slim(network, split(plan(network, sides(2)), 0.5))
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (4, 4, 8)


class Filter(nn.Module):
    """A depthwise convolution that is a function."""

    def __init__(self, groups):
        super().__init__()
        self.a, self.o, self.groups_of = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), groups
        self.filt = nn.Parameter(torch.rand(8, 1, 3, 3))

    def forward(self, x):
        x = self.a(x)
        return self.o(nn.functional.conv2d(x, self.filt, groups=self.groups_of(x)))


@pytest.mark.parametrize("groups", [lambda x: 8, lambda x: x.shape[1]])
def test_filters_of_no_layer_keep_their_channels_and_the_plan_says_why(groups):
    network, x = Filter(groups), torch.randn(1, 3, 8, 8)
    p = plan(network, x)
    assert "read one by one in Filter, whose weight is in no layer that counts its groups" in str(p)
    assert slim(network, split(p))(x).shape == (1, 2, 6, 6)


def test_batch_norms_of_one_channel_belong_to_it():
    axes = plan(nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.PReLU()), torch.zeros(1, 3, 4, 4)).axes
    assert {name for name, _ in axes if name[0] != "0"} >= {f"1.{own}" for own in ("weight", "bias", "running_var")}
    assert ("2.weight", 0) not in axes
