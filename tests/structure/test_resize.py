import json

import pytest
import torch
from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch.networks import CNN, build
from mentorch.structure import plan, prune, recipe_between, resize, slim, split


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "shufflenet_v1"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_recipe_and_weights_make_the_same_network_without_the_large_one(name, device, lively):
    network = lively(build(name, num_classes=7))
    s = split(plan(network, torch.zeros(1, 3, 8, 8)), 0.8)
    small = slim(network, s)
    with torch.device(device):
        bare = build(name, num_classes=7).double()
    rebuilt = resize(bare, json.loads(json.dumps(s.recipe())))
    assert not any(x.is_meta for x in rebuilt.state_dict().values())
    rebuilt.load_state_dict(small.state_dict())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(rebuilt.eval()(x), small(x))


@pytest.mark.parametrize(("name", "gain"), [("resnet20", 2.0), ("mobilenet_v2", 2.0)])
def test_a_resized_network_begins_by_the_law_of_its_builder(name, gain):
    """He: variance 2 / fan_in, also of the layers that became smaller."""
    network = build(name, num_classes=7)
    small = resize(network, split(plan(network, torch.zeros(1, 3, 8, 8)), 0.5).recipe())
    convolutions = [m for m in small.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 500]
    found = [float(m.weight.detach().var()) * m.weight[0].numel() for m in convolutions]
    sizes = [m.weight.numel() for m in convolutions]
    assert found == [pytest.approx(gain, rel=6 * (2 / n) ** 0.5) for n in sizes]
    norms = [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all() and (m.running_var == 1).all() and (m.bias == 0).all()) for m in norms)


def test_wider_layers_have_no_filters_twice():
    made, wide = nn.Sequential(nn.Conv2d(2, 4, 3)), nn.Sequential(nn.Conv2d(8, 16, 3))
    weight = resize(made, recipe_between(made, wide))[0].weight.detach()
    assert len(weight.flatten(1).unique(dim=0)) == 16
    assert float(weight.abs().max()) <= 72**-0.5  # the law of torch, at 72 inputs


class Held(nn.Module):
    """A parameter that no layer draws, and a buffer that no state dict holds."""

    def __init__(self, persistent=False):
        super().__init__()
        self.a, self.o = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.gain = nn.Parameter(torch.ones(8, 1, 1))
        self.register_buffer("window", torch.linspace(1, 2, 8)[:, None, None], persistent=persistent)

    def forward(self, x):
        return self.o(self.a(x) * self.window * self.gain).mean((2, 3))


def test_what_no_layer_draws_has_the_values_of_the_builder():
    network, x = Held(), torch.randn(2, 3, 4, 4)
    p = plan(network, x)
    with torch.no_grad():
        network.a.weight[:3] = 0
    for s in (split(p), prune(network, p, by="l1", to=0.5)):
        small = slim(network, s)
        again = resize(Held(), json.loads(json.dumps(s.recipe())))
        assert torch.equal(again.gain, torch.ones(len(small.gain), 1, 1))
        again.load_state_dict(small.state_dict())
        assert torch.equal(again(x), small(x))


def test_values_that_cannot_be_known_are_refused():
    network, x = Held(), torch.zeros(1, 3, 4, 4)
    recipe = split(plan(network, x)).recipe()
    with pytest.raises(RunError, match="does not say which values 'window' keeps"):
        resize(Held(), {**recipe, "taken": {}})
    with torch.device("meta"):
        bare = Held()
    with pytest.raises(UsageError, match="'window' is in no state dict, and has no values on the meta device"):
        resize(bare, recipe)
    with pytest.raises(UsageError, match="'window' has another shape and is in no state dict"):
        recipe_between(Held(), slim(network, split(plan(network, x))))
    assert len(resize(Held(True), split(plan(Held(True), x)).recipe()).window) == 4


def test_recipes_of_other_networks_and_damaged_ones_are_refused():
    recipe = split(plan(network := CNN(5, widths=(6, 10)), torch.zeros(1, 3, 8, 8))).recipe()
    with pytest.raises(RunError, match="of another network than this CNN"):
        resize(CNN(5, widths=(6, 12)), recipe)
    with pytest.raises(RunError, match="no recipe of a smaller network"):
        resize(network, {"schema": "other"})
    with pytest.raises(RunError, match="damaged"):
        resize(network, {**recipe, "shapes": [1]})


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("shapes", {"layer1.0.weight": ""}, "layer1.0.weight"),
        ("shapes", {"layer1.0.weight": [6, 3, 3]}, "layer1.0.weight"),
        ("shapes", {"layer1.0.weight": [-1, 3, 3, 3]}, "layer1.0.weight"),
        ("shapes", {"layer1.0.weight": [1.5, 3, 3, 3]}, "layer1.0.weight"),
        ("shapes", {"layer1.0.weight": None}, "layer1.0.weight"),
        ("shapes", {"nowhere": [3]}, "nowhere"),
        ("shapes", {"layer1.0.weight": [10**30, 3, 3, 3]}, ""),
        ("shapes", {"layer1.0.weight": [10**15, 3, 3, 3]}, ""),
        ("attributes", [], ""),
        ("attributes", {"a": 1}, "a"),
        ("attributes", {"layer1": {"forward": 1}}, "layer1"),
        ("attributes", {"layer1.0": {"groups": -1}}, "layer1.0"),
        ("attributes", {"layer1.0": {"groups": "1"}}, "layer1.0"),
        ("taken", [], ""),
        ("taken", {"layer1.0.weight": [[0, 99], None, None, None]}, "layer1.0.weight"),
    ],
)
def test_damaged_recipes_are_refused_in_one_line(part, value, named):
    recipe = split(plan(network := CNN(5, widths=(6, 10)), torch.zeros(1, 3, 8, 8))).recipe()
    with pytest.raises(RunError, match=f"recipe of a smaller network is damaged.*{named}") as error:
        resize(network, {**recipe, part: value})
    assert "\n" not in str(error.value)
