import copy
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import CNN, build, names, state_hash
from mentorch.structure import plan, split

IMAGE = torch.zeros(1, 3, 16, 16)


def space(p, name):
    return next(space for space in p.spaces if space.name == name)


@pytest.mark.parametrize("name", [name for name in names() if not name.endswith(("110", "56", "44"))])
def test_every_network_of_ours_has_a_plan(name):
    p = plan(build(name, num_classes=7), IMAGE)
    pinned = ["input", "patch_embed", "fc"] if name.startswith("vit") else ["input", "fc"]
    assert [s.name for s in p.spaces if s.pinned] == pinned
    # layer norms scale pinned channels only: they stay whole
    assert set(p.parameters) - {n for n, _ in p.axes} == {n for n in p.parameters if re.search(r"norm\d?\.", n)}
    for (n, dim), axis in p.axes.items():
        if n in p.shapes:
            assert len(axis.channels) == p.shapes[n][dim] * (axis.groups if dim else 1)


def test_the_network_is_left_alone():
    network = build("resnet8", num_classes=7).train()
    before, modes = state_hash(network), [m.training for m in network.modules()]
    state = torch.random.get_rng_state()
    p = plan(network, IMAGE)
    assert (state_hash(network), [m.training for m in network.modules()]) == (before, modes)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(x.is_meta for x in p._network.parameters())


def test_plans_are_values():
    one, two = (plan(build("resnet8", num_classes=7), IMAGE) for _ in range(2))
    assert one == two
    assert one.hash == two.hash
    assert plan(build("resnet8", num_classes=8), IMAGE).hash != one.hash
    assert plan(build("resnet8", num_classes=7), IMAGE, pin=["conv1"]).hash != one.hash


def test_options_of_the_example_do_not_matter():
    network = build("resnet8", num_classes=7)
    assert plan(network, torch.randn(4, 3, 24, 24)).axes == plan(network, IMAGE).axes


def test_shared_layers_tie_what_they_read_and_make():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            return self.c(self.b(self.b(self.a(x))))

    p = plan(Twice(), IMAGE)
    assert p.axes["a.weight", 0] == p.axes["b.weight", 0] == p.axes["b.weight", 1]


def test_widths_written_into_code_are_found_out_and_pinned(call):
    p = plan(call(lambda x: torch.cat(x.split([2, 4], 1), 1)), IMAGE)
    assert space(p, "layer").pinned == "the code of the network cannot have fewer"


def test_pinned_modules_stay_whole():
    p = plan(CNN(5, widths=(6, 10)), IMAGE, pin=["layer1.0"])
    assert split(p).kept["layer1.0"] == tuple(range(6))
    assert len(split(p).kept["layer2.1"]) == 5
    with pytest.raises(UsageError, match=r"unknown module to pin 'layer1': .*'layer1.0'"):
        plan(CNN(5, widths=(6, 10)), IMAGE, pin=["layer1"])


def test_ends_that_are_not_pinned():
    p = plan(nn.Linear(4, 6), torch.zeros(1, 4), pin_ends=False)
    assert split(p).shapes["weight"] == (3, 2)


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Conv2d(3, 6, 1) for _ in range(4))
            self.c, self.d = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 3, 1)

        def forward(self, x, y):
            z = self.a(x) + self.b(y)
            return {"c": self.c(z), "d": [self.d(z)]}

    p = plan(Two(), (IMAGE, IMAGE))
    assert [s.name for s in p.spaces if s.pinned] == ["input", "input2", "c", "d"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.fft.fft(x).real, "Call calls fft_fft, of which no rule says what it does to channels"),
        (lambda x: x @ torch.ones(16, 16), "multiplies channels with a matrix that is no parameter"),
        (lambda x: F.conv2d(x, torch.ones(6, 6, 1, 1)), "computes the parameters of a layer from other tensors"),
        (lambda x: x if x.sum() > 0 else -x, "calls gt, of which no rule"),
        (lambda x: x.view(1, 7, 16, 16), "Call cannot be traced: shape"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_module(function, message, call):
    with pytest.raises(UsageError, match=message), warnings.catch_warnings():
        plan(call(function), IMAGE)


def test_the_module_that_fails_is_named(call):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), call(lambda x: torch.cumsum(x, 1)))
    network[1].layer = nn.Conv2d(4, 6, 1)
    with pytest.raises(UsageError, match="module '1' calls cumsum"):
        plan(network, IMAGE)


def test_unused_parameters_are_an_error(call):
    network = call(F.relu)
    network.spare = nn.Linear(3, 3)
    with pytest.raises(UsageError, match=r"parameter 'spare.weight' is not used in evaluation mode"):
        plan(network, IMAGE)


def test_a_copy_of_the_network_fits_its_plan():
    network = build("resnet8", num_classes=7)
    assert plan(copy.deepcopy(network), IMAGE) == plan(network, IMAGE)


def test_it_prints():
    text = str(plan(build("shufflenet_v1", num_classes=7), IMAGE))
    assert "input: 3, stays: an input of the network\n  conv1.weight[1]" in text
    assert "in multiples of 3" in text
