import copy
import math

import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build
from mentorch.structure import later_layers, plan, reset, split, zero

IMAGE = torch.zeros(1, 3, 8, 8)


def after(network, s, **options):
    changed = copy.deepcopy(network)
    reset(changed, s, **options)
    return dict(network.state_dict()), dict(changed.state_dict())


@pytest.mark.parametrize("mode", ["kels", "wels"])
@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "shufflenet_v1", "vgg8"])
def test_the_fit_part_keeps_its_bits_and_the_rest_is_drawn(name, mode):
    network = build(name, num_classes=7)
    s = split(plan(network, IMAGE), mode=mode)
    before, now = after(network, s, seed=3)
    for key, tensor in before.items():
        mask = s.mask(key) if key in s.plan.layers else torch.ones(tensor.shape, dtype=torch.bool)
        assert torch.equal(tensor[mask], now[key][mask])
        assert (tensor[~mask] != now[key][~mask]).all()


def test_the_published_law():
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 256, 3), nn.Conv2d(256, 3, 3))
    s = split(plan(network, torch.zeros(1, 3, 16, 16)))
    _, now = after(network, s)
    drawn = now["1.weight"][~s.mask("1.weight")].double()
    fan_in = 64 * 9  # of the whole network
    assert float(drawn.abs().max()) <= fan_in**-0.5
    variance, n = 1 / (3 * fan_in), len(drawn)
    error = math.sqrt((1 / (5 * fan_in**2) - variance**2) / n)  # of the mean of squares: E x^4 = 1 / (5 fan_in^2)
    assert abs(float(drawn.square().mean()) - variance) < 3 * error
    assert abs(float(drawn.mean())) < 3 * math.sqrt(variance / n)


def test_every_generation_draws_its_own_and_the_same_again():
    network = CNN(5, widths=(6, 10))
    s = split(plan(network, IMAGE))
    torch.manual_seed(1)
    _, first = after(network, s, seed=1)
    torch.manual_seed(2)
    _, again = after(network, s, seed=1)
    _, second = after(network, s, seed=2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layer2.1.weight"], second["layer2.1.weight"])


def test_a_law_of_ones_own():
    network, fresh = CNN(5, widths=(6, 10)), CNN(5, widths=(6, 10))
    s = split(plan(network, IMAGE))
    _, now = after(network, s, law=lambda name, weight, generator: fresh.get_parameter(name))
    mask = s.mask("layer2.1.weight")
    assert torch.equal(now["layer2.1.weight"][~mask], fresh.layer2[1].weight[~mask])
    _, now = after(network, s, law=zero)
    assert not now["layer2.1.weight"][~mask].any()


@pytest.mark.parametrize("mode", ["kels", "wels"])
@pytest.mark.parametrize(
    ("norm", "reset_keys"),
    [
        ("affine", {"weight", "bias"}),
        ("statistics", {"running_mean", "running_var"}),
        ("both", {"weight", "bias", "running_mean", "running_var"}),
    ],
)
def test_batch_norms_begin_again_where_asked(norm, reset_keys, mode, lively):
    network = lively(CNN(5, widths=(6, 10)))
    s = split(plan(network, IMAGE), mode=mode)
    before, now = after(network, s, norm=norm)
    start = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
    for key, value in start.items():
        name = f"layer2.2.{key}"
        kept = 5 if mode == "kels" else 0  # by weights, every filter has lost some
        assert torch.equal(before[name][:kept], now[name][:kept])
        assert bool((now[name][kept:] == value).all()) == (key in reset_keys)


def test_biases_begin_again_where_asked():
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1))
    s = split(plan(network, IMAGE))
    before, now = after(network, s, bias=True)
    assert torch.equal(before["0.bias"][:3], now["0.bias"][:3])
    assert not now["0.bias"][3:].any()
    assert torch.equal(before["1.bias"], now["1.bias"])  # of the output, whole
    assert not after(network, split(s.plan, mode="wels"), bias=True)[1]["1.bias"].any()


def test_errors():
    network = CNN(5, widths=(6, 10))
    s = split(plan(network, IMAGE))
    with pytest.raises(UsageError, match="the plan is of another network"):
        reset(CNN(6, widths=(6, 10)), s)
    with pytest.raises(UsageError, match="norm must be 'keep'"):
        reset(network, s, norm="all")


def test_later_layers_forget_what_belongs_to_them(lively):
    network = lively(CNN(5, widths=(6, 10)))
    before, now = after(network, later_layers(plan(network, IMAGE), 2), norm="both", bias=True)
    assert all(torch.equal(before[key], now[key]) for key in before if key.startswith("layer1"))
    assert (before["layer2.1.weight"] != now["layer2.1.weight"]).all()
    assert (before["fc.weight"] != now["fc.weight"]).all()
    assert bool((now["layer2.2.running_var"] == 1).all())
    assert not now["fc.bias"].any()


def test_a_norm_of_one_channel_and_the_biases_of_attention_begin_again_with_weights():
    norm = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1))
    nn.init.constant_(norm[1].weight, 3.0)
    reset(norm, split(plan(norm, IMAGE), 0.5, mode="wels"), norm="affine")
    assert float(norm[1].weight.detach()) == 1
    block = nn.Sequential(nn.Linear(6, 6), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), nn.Linear(6, 2))
    nn.init.ones_(block[1].self_attn.in_proj_bias)
    tokens = torch.zeros(1, 5, 6)
    reset(block, split(plan(block, tokens), 0.5), bias=True)
    assert bool((block[1].self_attn.in_proj_bias == 1).all())  # its channels all stay
    reset(block, split(plan(block, tokens), 0.5, mode="wels"), bias=True)
    assert bool((block[1].self_attn.in_proj_bias == 0).any())
