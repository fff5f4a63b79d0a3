import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch._errors import UsageError
from mentorch._freeze import freeze, is_frozen
from mentorch.networks import CNN, build
from mentorch.structure import merge, plan, resize, slim, split
from mentorch.structure._split import keep_channels

NAMES = (
    "resnet20",
    "resnet8x4",
    "wrn_16_2",
    "vgg8",
    "mobilenet_v2",
    "shufflenet_v1",
    "shufflenet_v2",
    "cnn_small",
    "vit_nano",
)
DENSE = {
    "segnet": {"widths": (8, 12), "depths": (1, 2)},
    "unet": {"widths": (8, 12)},
    "deeplab_resnet8": {"width": 8, "rates": (1, 2)},
}


class Decoder(nn.Module):
    """Down, up by transposed convolutions (one of them depthwise), joined with what was before."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 10, 3, 2, padding=1)
        self.up = nn.ConvTranspose2d(10, 6, 2, 2)
        self.smooth = nn.ConvTranspose2d(6, 6, 3, padding=1, groups=6)
        self.out = nn.Conv2d(9, 4, 1)

    def forward(self, x):
        return self.out(torch.cat([F.leaky_relu(self.smooth(self.up(F.relu(self.down(x))))), x], 1))


class Attention(nn.Module):
    """A transformer block that can have fewer heads."""

    def __init__(self, dim=12, heads=4):
        super().__init__()
        self.num_heads, self.head_dim = heads, 3
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * self.head_dim)
        self.proj = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1)
        return x + self.proj((attention @ v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.position = nn.Parameter(torch.randn(1, 5, 12))
        self.block = Attention()
        self.mlp = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
        self.fc = nn.Linear(12, 7)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        x = self.block(x)
        return self.fc((x + self.mlp(x))[:, 0])


class Flat(nn.Module):
    """Convolutions, squeeze and excitation, grouped convolution, flattened positions, PReLU."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(12, 5, 1), nn.Conv2d(5, 12, 1)
        self.prelu = nn.PReLU(12)
        self.b = nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.fc1, self.fc2 = nn.Linear(8 * 16, 9), nn.Linear(9, 3)

    def forward(self, x):
        x = self.prelu(self.a(x))
        x = x * self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = F.adaptive_max_pool2d(self.b(x), 4)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("name", NAMES)
def test_zeroed_reset_part_computes_what_the_slim_network_does_to_the_bit(name, keep, lively, exact, cut):
    network = lively(build(name, num_classes=7))
    s = split(plan(network, torch.zeros(1, 3, 8, 8)), keep)
    dense, small = cut(network, s)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(exact(dense, x), exact(small, x))
    assert not torch.equal(exact(network, x), exact(small, x))
    torch.testing.assert_close(dense(x), small(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", DENSE)
def test_networks_that_answer_at_every_pixel(name, lively, cut):
    network = lively(build(name, num_classes=5, options=DENSE[name]))
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    dense, small = cut(network, split(plan(network, x[:1]), 0.5))
    torch.testing.assert_close(dense(x), small(x), rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("keep", [0.5, 0.8])
@pytest.mark.parametrize("make", [Decoder, Transformer, Flat])
def test_other_operations(make, keep, lively, cut):
    torch.manual_seed(0)
    network = lively(make())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    dense, small = cut(network, split(plan(network, x[:1]), keep))
    torch.testing.assert_close(dense(x), small(x), rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "wrn_16_2", "shufflenet_v2", "shufflenet_v1"])
def test_any_choice_of_channels_passes_not_only_the_first(name, lively, exact, cut):
    network = lively(build(name, num_classes=7))
    p = plan(network, torch.zeros(1, 3, 8, 8))
    generator = torch.Generator().manual_seed(5)

    def anyhow(channels, count):
        return [channels[i] for i in torch.randperm(len(channels), generator=generator)[:count].tolist()]

    s = split(p, 0.5)
    widths = {space.name: len(s.kept[space.name]) for space in p.spaces}
    other = keep_channels(p, s.rate, widths, anyhow)
    assert other.kept != s.kept
    dense, small = cut(network, other)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(exact(dense, x), exact(small, x))


def test_it_is_independent_and_of_the_same_classes():
    network = build("resnet20", num_classes=7)
    s = split(plan(network, torch.zeros(1, 3, 8, 8)))
    small = slim(network, s)
    assert [type(m) for m in small.modules()] == [type(m) for m in network.modules()]
    own = {p.untyped_storage().data_ptr() for p in network.state_dict().values()}
    for name, tensor in small.state_dict().items():
        assert tensor.untyped_storage().data_ptr() not in own
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        assert tuple(tensor.shape) == s.shapes[name]
    before = copy.deepcopy(network.state_dict())
    small(torch.randn(4, 3, 8, 8)).sum().backward()
    torch.optim.SGD(small.parameters(), 1.0).step()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_layers_say_their_own_sizes():
    small = slim(network := CNN(5, widths=(6, 10)), split(plan(network, torch.zeros(1, 3, 8, 8))))
    layer = small.layer2[1]
    assert (layer.in_channels, layer.out_channels, small.layer2[2].num_features) == (3, 5, 5)
    assert (small.fc.in_features, small.fc.out_features) == (5, 5)


def test_hooks_stay_where_they_are_and_modes_come_along():
    network = CNN(5, widths=(6, 10)).train()
    network.layer1.eval()
    network.layer1.register_forward_hook(lambda *_: pytest.fail("a hook of the large network ran"))
    p = plan(network, torch.zeros(1, 3, 8, 8))
    small = slim(network, split(p))
    small(torch.zeros(2, 3, 8, 8))
    assert small.training
    assert not small.layer1.training
    assert network.training


def test_what_comes_of_a_frozen_network_learns():
    network = freeze(build("resnet8", num_classes=4))
    images = torch.randn(2, 3, 8, 8)
    s = split(plan(network, images))
    for other in (slim(network, s), resize(network, s.recipe()), merge([network, network], images)):
        assert other.train().training
        other(images).sum().backward()
        assert all(p.grad is not None for p in other.parameters())
    assert is_frozen(network)
    assert not any(p.requires_grad for p in network.parameters())


def test_splits_of_other_networks_and_by_weights_are_refused():
    network = CNN(5, widths=(6, 10))
    p = plan(network, torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        UsageError, match=r"the plan is of another network: 'layer2.1.weight' has shape \(12, 6, 3, 3\)"
    ):
        slim(CNN(5, widths=(6, 12)), split(p))
    with pytest.raises(UsageError, match=r"a split by weights \(wels\) has no smaller network"):
        slim(network, split(p, mode="wels"))
    with pytest.raises(UsageError, match="no smaller network"):
        split(p, mode="wels").recipe()


def test_extraction_needs_little_more_memory_than_its_result():
    class Watch(TorchDispatchMode):
        now = peak = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            given = {x.untyped_storage()._cdata for x in args if isinstance(x, torch.Tensor)}
            if isinstance(out, torch.Tensor) and out.untyped_storage()._cdata not in given:
                size = out.numel() * out.element_size()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(out, self.free, size)
            return out

        def free(self, size):
            self.now -= size

    network = build("resnet18", num_classes=100)
    s = split(plan(network, torch.zeros(1, 3, 8, 8)), 0.8)
    with Watch() as watch:
        small = slim(network, s)
    dense, own = (sum(x.numel() * x.element_size() for x in n.state_dict().values()) for n in (network, small))
    # what was alive for a moment, beside both networks
    assert watch.peak > 0
    assert dense + own + watch.peak < 1.2 * (dense + own)
