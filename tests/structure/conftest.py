"""Networks with statistics worth testing, and sums that do not depend on the order of their terms."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mentorch.networks import cost
from mentorch.structure import Plan, Split, plan, reset, slim, split, zero
from mentorch.structure._spaces import signatures


class Exact(TorchFunctionMode):
    """Convolutions and linear layers as sums of sorted terms, and curved activations alike for every element.

    Two networks that add the same numbers then agree in every bit. Ordinary kernels add in an order that depends on the
    shapes, and even on where in memory a tensor lies.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name == "conv2d":
            return _convolve(*args, **(kwargs or {}))
        if name == "linear":
            return _multiply(*args, **(kwargs or {}))
        if name in ("gelu", "silu", "sigmoid"):
            return _everywhere_alike(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _everywhere_alike(func, x, **options):
    """The last few elements of a tensor go another way through the processor: let them be padding."""
    return func(F.pad(x.flatten(), (0, 64)), **options)[: x.numel()].view(x.shape)


def _sum(terms: Tensor) -> Tensor:
    return terms.sort(dim=-1).values.cumsum(-1)[..., -1]


def _multiply(x, weight, bias=None):
    y = torch.stack([_sum(row * weight) for row in x.reshape(-1, 1, x.shape[-1])]).view(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def _convolve(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    patches = F.unfold(x, weight.shape[2:], dilation, padding, stride)  # [N, C k k, L]
    parts = zip(patches.chunk(groups, 1), weight.flatten(1).chunk(groups), strict=True)
    y = torch.cat([torch.stack([_sum(p.mT * row) for row in w], 1) for p, w in parts], 1)
    size = F.conv2d(x[:1, :1], weight[:1, :1], None, stride, padding, dilation).shape[2:]
    y = y.view(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def exact() -> Callable[[nn.Module, Tensor], Tensor]:
    """``exact(network, x)``: what the network computes when sums do not depend on the order of their terms."""

    @torch.no_grad()
    def run(network: nn.Module, x: Tensor) -> Tensor:
        with Exact():
            return network(x)

    return run


@pytest.fixture
def lively() -> Callable[[nn.Module], nn.Module]:
    """``lively(network)``: in float64 and evaluation mode, with norms and biases that are not where they began."""

    def enliven(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
            elif isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
        return network.double().eval()

    return enliven


@pytest.fixture(scope="session")
def cut() -> Callable[[nn.Module, Split], tuple[nn.Module, nn.Module]]:
    """``cut(network, split)``: the network with its reset part at zero, and what is left of it."""

    def halves(network: nn.Module, s: Split) -> tuple[nn.Module, nn.Module]:
        forgetful = copy.deepcopy(network)
        reset(forgetful, s, law=zero)
        return forgetful, slim(forgetful, s)

    return halves


@pytest.fixture(scope="session")
def shuffled() -> Callable[[nn.Module, Plan], nn.Module]:
    """``shuffled(network, plan)``: the network with channels that go the same ways in another order."""

    def shuffle(network: nn.Module, p: Plan) -> nn.Module:
        order = list(range(len(p.space_of)))
        for channels in signatures(p.axes).values():
            if p.spaces[p.space_of[channels[0]]].pinned is None:
                drawn = torch.randperm(len(channels)).tolist()
                for channel, i in zip(channels, drawn, strict=True):
                    order[channel] = channels[i]
        other = copy.deepcopy(network)
        tensors = dict([*other.named_parameters(), *other.named_buffers()])
        for (name, dim), axis in p.axes.items():
            if name in tensors:
                data, index = tensors[name].data, _moved(axis.channels, order)
                groups = axis.groups if dim else 1
                parts = zip(data.chunk(groups), index.chunk(groups), strict=True)
                tensors[name].data = torch.cat([x.index_select(dim, i % x.shape[dim]) for x, i in parts])
        return other

    return shuffle


def _moved(channels: tuple[int, ...], order: list[int]) -> Tensor:
    """For each index the one whose channel takes its place: of the n-th index of a channel, the other's n-th."""
    places, seen = defaultdict(list), Counter()
    for i, channel in enumerate(channels):
        places[channel].append(i)
    found = []
    for channel in channels:
        found.append(places[order[channel]][seen[channel]])
        seen[channel] += 1
    return torch.tensor(found)


@pytest.fixture(scope="session")
def follows(cut, shuffled):
    """``follows(network, x, keep, seed)``: its plan; removing and reordering channels by it leaves the function."""

    def check(network, x, keep, seed=0):
        torch.manual_seed(seed)
        p = plan(network, x)
        expected = network(x)
        other = shuffled(network, p)
        torch.testing.assert_close(other(x), expected, rtol=1e-10, atol=1e-10)
        s = split(p, keep, mode="random", seed=seed)
        dense, small = cut(network, s)
        torch.testing.assert_close(small(x), dense(x), rtol=1e-10, atol=1e-10)
        assert {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()} == s.shapes
        assert [cost(net, x).macs for net in (network, small)] == [p.cost(of.shapes)[1] for of in (p, s)]
        return p, other, small

    return check


class Call(nn.Module):
    """A layer, any function behind it, and a layer that reads what it returns."""

    def __init__(self, function, width=6, returned=None):
        super().__init__()
        self.layer, self.function, self.out = nn.Conv2d(3, width, 1), function, nn.Conv2d(returned or width, 2, 1)

    def forward(self, x):
        return self.out(self.function(self.layer(x)))


@pytest.fixture(scope="session")
def call() -> type[Call]:
    """``call(function, width=6, returned=width)``: a function of channels between two convolutions of a pixel."""
    return Call
