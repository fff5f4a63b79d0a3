import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import build
from mentorch.structure import plan, slim, split
from mentorch.structure._numbers import number, plain
from mentorch.structure._tensor_rules import concatenate, pair, reduce
from mentorch.structure._trace import Trace

X = torch.randn(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def ready(network):
    return network.double().eval()


def layer(network):
    """The space of the channels that the function of a ``call`` reads."""
    return next(space for space in plan(network, X).spaces if space.name == "layer")


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        # one value of each channel and position
        (lambda x: F.relu(x, inplace=True) + 1, 6),
        (lambda x: x.mul_(2).clamp(0, 6), 6),
        (lambda x: 2 - 1 / (x.exp() + 1) / 3, 6),
        (lambda x: x.square().add_(1).div_(2).sub_(x), 6),
        (lambda x: torch.where(torch.tensor(True), x, -x), 6),
        (lambda x: torch.lerp(x, x.tanh(), 0.3).masked_fill(torch.zeros(8, 8, dtype=torch.bool), 0), 6),
        (lambda x: F.softmax(x, 3), 6),
        # positions
        (lambda x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2), 6),
        (lambda x: F.adaptive_avg_pool2d(x, (3, None)), 6),
        (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), 6),
        (lambda x: x.sum(-1, True) + x.amax(2, keepdim=True) + x.logsumexp((2, 3), True), 6),
        (lambda x: x.std(3, keepdim=True) + x.var((2, 3), False, True) + x.prod(2, True), 6),
        (lambda x: x.norm(dim=(2, 3), keepdim=True) + torch.linalg.vector_norm(x, 1, 3, True), 6),
        (lambda x: F.pad(x, (1, 1, 1, 1)), 6),
        (lambda x: F.pad(x, (1, 0, 2, 0), mode="reflect"), 6),
        (lambda x: x[:, :, ::2].permute(0, 2, 3, 1).transpose(3, 1).transpose(2, 3), 6),
        (lambda x: torch.stack([x, x.neg()]).sum(0), 6),
        (lambda x: x.view(x.shape[0], -1, 4, 16), 6),
        (lambda x: x.unfold(2, 2, 2).amax(-1), 6),
        # channels
        (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), 6),
        (lambda x: torch.cat([x, x.relu(), x[:, : x.shape[1] // 2]], -3), 15),
        (lambda x: F.glu(torch.cat([x, x.flip(1)], 1), 1), 6),
        (lambda x: F.glu(x, 1), 3),
        (lambda x: torch.mul(*x.chunk(2, 1)), 3),
        (lambda x: x.flip(1).roll(1, 2).contiguous(), 6),
        (lambda x: x.repeat_interleave(2, 1), 12),
        (lambda x: F.pixel_unshuffle(x, 2), 24),
        (lambda x: F.pixel_unshuffle(F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2), 2)[:, : x.shape[1]], 6),
        (lambda x: F.pad(x, (0, 0, 0, 0, 2, 1)) + F.pad(x, (0, 0, 0, 0, 2, 1)).relu(), 9),
        (lambda x: torch.cat([F.pad(x, (0, 0, 0, 0, 0, 1)), F.pad(x, (0, 0, 0, 0, 2, 0))], 1), 15),
        (lambda x: F.pad(x[:, None], (0, 0, 0, 0, 1, 1))[:, 0, 1:-1], 6),
        # other names of arguments
        (lambda x: torch.cat([x, x.relu()], axis=1), 12),
        (lambda x: x - x.mean(axis=(2, 3), keepdims=True), 6),
        (lambda x: x / (1 + x.std(axis=2, keepdims=True)), 6),
        # places of the largest
        (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), 6),
        (
            lambda x: (
                torch.zeros(1, x.shape[1], 64)
                .to(x)
                .scatter(2, torch.arange(64).expand(1, 6, 64)[:, : x.shape[1]], x.flatten(2))
                .view_as(x)
            ),
            6,
        ),
    ],
)
def test_operations_that_leave_channels_apart(call, follows, function, returned):
    network = ready(call(function, returned=returned))
    p, other, small = follows(network, X, 0.5)
    assert layer(network).pinned is None
    assert 0 < small.layer.out_channels < 6
    assert not torch.equal(other.layer.weight, network.layer.weight)
    assert p.spaces[-1].pinned  # the output


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.softmax(1), "normalised together with others by Call"),
        (lambda x: F.softmax(x), "normalised together with others by Call"),
        (lambda x: F.log_softmax(x, -3), "normalised together with others by Call"),
        (lambda x: x - x.mean(1, True), "summed over by Call"),
        (lambda x: x / x.sum(), "summed over by Call"),
        (lambda x: x / x.std(False), "summed over by Call"),
        (lambda x: x / x.var(1, keepdim=True), "summed over by Call"),
        (lambda x: x / x.norm(), "summed over by Call"),
        (lambda x: (x.flatten(2) @ x.flatten(2).mT)[:, :, :, None], "multiplied by Call"),
    ],
)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_channels_that_are_computed_from_all_others_stay(call, function, reason):
    assert reason in layer(call(function)).pinned


class Beside(nn.Module):
    """Channels, and what a parameter, a buffer or a layer does to them."""

    def __init__(self, function, tensor=None, layer=None):
        super().__init__()
        self.a, self.o, self.function = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), function
        if tensor is not None:
            self.p = nn.Parameter(tensor)
        if layer is not None:
            self.g = layer

    def forward(self, x):
        return self.o(self.function(self, self.a(x)))


def powers():
    return torch.linspace(0.5, 2, 8)[:, None, None]


@pytest.mark.parametrize(
    "network",
    [
        # a number for each channel
        Beside(lambda m, x: x.abs().pow(m.p.abs()), powers()),
        Beside(lambda m, x: m.p.abs().pow(x), powers()),
        Beside(lambda m, x: x.clamp(max=m.p), powers()),
        Beside(lambda m, x: torch.clip(x, -m.p, m.p), powers()),
        # one for all of them
        Beside(lambda m, x: x * m.p.exp().clamp(max=9), torch.ones(1)),
        Beside(lambda m, x: x * m.g(x).sigmoid(), layer=nn.Conv2d(8, 1, 1)),
        Beside(lambda m, x: m.g(x).sigmoid() * x, layer=nn.Conv2d(8, 1, 1)),
        Beside(lambda m, x: x + m.p, torch.rand(1, 1, 8, 8)),
        # constants and parameters that a layer reads
        Beside(lambda m, x: x + m.g(torch.arange(16.0).to(x)[None])[:, :, None, None], layer=nn.Linear(16, 8)),
        Beside(lambda m, x: x + m.g(m.p)[:, :, None, None], torch.rand(1, 4), nn.Linear(4, 8)),
        Beside(lambda m, x: x + m.g(m.p)[:, :, None, None], torch.rand(1, 1), nn.Linear(1, 8)),
    ],
)
def test_what_stands_beside_channels_leaves_them_to_be_cut(network, follows):
    _, _, small = follows(ready(network), X, 0.5)
    assert small.a.out_channels == 4


def test_one_channel_for_all_others_says_why_it_stays():
    gate = plan(Beside(lambda m, x: x * m.g(x), layer=nn.Conv2d(8, 1, 1)).double(), X).spaces[2]
    assert (gate.name, gate.size, gate.pinned) == ("g", 1, "one for all channels in Beside")


def test_of_an_outer_product_nothing_is_cut(follows):
    outer = Beside(lambda m, x: m.g((x[:, :, None] * x[:, None]).flatten(1, 2)), layer=nn.Conv2d(64, 8, 1))
    _, _, small = follows(ready(outer), X, 0.5)
    assert (small.a.out_channels, small.g.out_channels) == (8, 4)


def test_gated_halves_are_one_space(call):
    network = call(lambda x: F.glu(x, 1), width=12, returned=6)
    assert layer(network).size == 6
    assert split(plan(network, X)).shapes["layer.weight"] == (6, 3, 1, 1)


def test_padded_shortcuts_join_the_channels_in_the_middle():
    p = plan(build("resnet8", num_classes=7), torch.zeros(1, 3, 16, 16))
    sizes = {s.name: s.size for s in p.spaces}
    assert (sizes["conv1"], sizes["layer2.0.conv2"], sizes["layer3.0.conv2"]) == (16, 16, 32)
    row = p.axes["layer2.0.conv2.weight", 0].channels
    assert row[8:24] == p.axes["conv1.weight", 0].channels


class Shortcut(nn.Module):
    """Zero channels around those of the images, as many as it says, or as many as are written into its code."""

    def __init__(self, says):
        super().__init__()
        if says:
            self.before, self.after = 3, 1
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.first(x)
        wide = F.pad(x, (0, 0, 0, 0, getattr(self, "before", 3), getattr(self, "after", 1)))
        return self.out(wide + self.second(x))


@pytest.mark.parametrize(("says", "width"), [(True, 4), (False, 6)])
def test_padded_channels_are_fewer_only_where_the_module_says_how_many(follows, says, width):
    p, _, small = follows(ready(Shortcut(says)), X, 0.5)
    assert (small.first.out_channels, small.second.out_channels) == (2, width)
    assert getattr(small, "before", 1) + getattr(small, "after", 1) == 2
    reason = "padded by Shortcut, which does not say with how many: before, after"
    assert (reason in [space.pinned for space in p.spaces]) == (not says)


class Attention(nn.Module):
    """Heads that read five tokens; their number is an attribute, under any of the names that count."""

    def __init__(self, fused, counted="num_heads", heads=4, width=3):
        super().__init__()
        setattr(self, counted, heads)
        self.counted, self.fused, self.width = counted, fused, width
        self.q, self.k, self.v = (nn.Linear(3, heads * width) for _ in range(3))
        self.proj = nn.Linear(heads * width, 2)

    def forward(self, x):
        q, k, v = (
            f(x).view(len(x), -1, getattr(self, self.counted, 4), self.width).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        if self.fused:
            read = F.scaled_dot_product_attention(q, k, v)
        else:
            read = (q @ k.mT * self.width**-0.5).softmax(-1) @ v
        return self.proj(read.transpose(1, 2).flatten(2))


TOKENS = torch.randn(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "by hand"])
@pytest.mark.parametrize("counted", ["num_heads", "heads", "num_attention_heads"])
def test_heads_are_cut_whole(cut, shuffled, fused, counted):
    network = ready(Attention(fused, counted))
    p = plan(network, TOKENS)
    torch.testing.assert_close(shuffled(network, p)(TOKENS), network(TOKENS), rtol=1e-10, atol=1e-10)
    s = split(p, 0.5, mode="random", seed=1)
    dense, small = cut(network, s)
    assert (getattr(small, counted), small.width, small.q.out_features, small.proj.in_features) == (2, 3, 6, 6)
    assert getattr(network, counted) == 4
    torch.testing.assert_close(small(TOKENS), dense(TOKENS), rtol=1e-10, atol=1e-10)


def test_heads_that_nobody_counts_stay():
    p = plan(Attention(True, counted="number"), TOKENS.float())
    wanted = "multiplied by Attention, which does not say how many heads it has: num_heads"
    assert [space.pinned for space in p.spaces if space.name in "qkv"] == [wanted]
    assert slim(Attention(True, counted="number"), split(p)).q.out_features == 12


@pytest.mark.parametrize(
    "function",
    [lambda x: x @ torch.ones(8, 8), lambda x: torch.ones(8, 8) @ x, lambda x: x.mean((0, 2, 3)) @ x],
    ids=["right", "left", "vector"],
)
def test_a_matrix_that_is_no_parameter_of_a_layer_is_an_error(call, function):
    with pytest.raises(UsageError, match=r"^Call multiplies channels with a matrix that is no parameter of a layer$"):
        plan(call(function), X.float())


# the rules alone, on numbers


def trace(count):
    found = Trace(nn.Identity())
    found.ties.fresh(count)
    return found


shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3)


@settings(max_examples=30)
@given(st.data(), shapes)
def test_paired_elements_are_one_channel_and_constants_are_none(data, shape):
    smaller = [data.draw(st.sampled_from([1, n])) for n in shape]
    x, y = (torch.tensor(data.draw(st.permutations(range(torch.Size(s).numel())))).view(s) for s in (shape, smaller))
    y = torch.where(y % 2 == 0, y, -1)  # every second one is a constant
    t = trace(200)
    result = plain(pair(t, torch.add, number(x.double()), number(y.double() + 100 * (y >= 0)), torch.ones(shape)))
    wide = y.expand(shape)
    assert result.tolist() == x.tolist()
    if smaller != shape:  # one of y stands beside several of x, and is kept without tying them
        assert [t.ties.find(a) for a in range(200)] == list(range(200))
        assert {int(a) for pinned, _ in t.pins for a in pinned} == {100 + int(b) for b in y.flatten() if b >= 0}
        return
    roots = {}
    for a, b in zip(x.flatten().tolist(), wide.flatten().tolist(), strict=True):
        if b >= 0:
            roots.setdefault(b, set()).add(t.ties.find(a))
            assert t.ties.find(a) == t.ties.find(100 + b)
    assert all(len(same) == 1 for same in roots.values())
    alone = x.flatten()[wide.flatten() < 0].tolist()
    assert [t.ties.find(a) for a in alone] == alone


def test_a_channel_that_repeats_itself_over_positions_is_tied_in_all_of_them():
    t = trace(20)
    channels, squeezed = torch.arange(3.0)[:, None].expand(3, 5), 10 + torch.arange(3.0)[:, None]
    assert plain(pair(t, torch.mul, number(channels), number(squeezed))).tolist() == channels.tolist()
    assert [t.ties.find(10 + i) for i in range(3)] == [0, 1, 2]
    assert t.pins == []


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.sampled_from([1, -2]), st.booleans())
def test_concatenated_numbers_are_those_of_the_parts(widths, dim, repeats):
    starts = [sum(widths[:i]) for i in range(len(widths))]
    parts = [(torch.arange(w).double() + s).view(1, w, 1) for s, w in zip(starts, widths, strict=True)]
    parts = [part.expand(2, -1, 2) if repeats else part.repeat(2, 1, 2) for part in parts]
    constants = [] if repeats else [torch.zeros(2, 1, 2)]
    result = plain(concatenate(trace(9), torch.cat, [*map(number, parts), *constants], dim))
    assert torch.equal(result, torch.cat([*parts, *(x - 1 for x in constants)], 1))
    assert (result.stride(0) == result.stride(2) == 0) == repeats  # what repeats itself is not written out


@pytest.mark.parametrize("dim", [0, (0, 2), None, []])
def test_sums_over_channels_pin_them(dim):
    t = trace(3)
    numbers = number(torch.arange(3.0, dtype=torch.float64).view(3, 1, 1).expand(3, 2, 2))
    reduce(t, torch.sum, numbers, dim)
    assert [(pinned.tolist(), reason) for pinned, reason in t.pins] == [([0, 1, 2], "summed over by Identity")]


@pytest.mark.parametrize(
    ("dim", "keep", "shape"), [(1, False, (3, 2)), ((1, -1), True, (3, 1, 1)), ([1, 2], False, (3,))]
)
def test_sums_over_positions_leave_channels(dim, keep, shape):
    t = trace(3)
    numbers = number(torch.arange(3.0, dtype=torch.float64).view(3, 1, 1).expand(3, 2, 2))
    found = plain(reduce(t, torch.sum, numbers, dim, keep))
    assert not t.pins
    assert found.shape == shape
    assert found.flatten(1).amax(1).tolist() == [0, 1, 2] if found.ndim > 1 else found.tolist() == [0, 1, 2]
