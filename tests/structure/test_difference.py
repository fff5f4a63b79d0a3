import json

import pytest
import torch

from mentorch import UsageError
from mentorch.networks import CNN, build
from mentorch.structure import merge, plan, prune, recipe_between, resize, slim


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenet_v2", "cnn_tiny"])
def test_a_merged_and_pruned_network_is_made_from_its_builder(name):
    x = torch.rand(2, 3, 8, 8)
    merged = merge([build(name, num_classes=k) for k in (3, 2)], x)
    small = slim(merged, prune(merged, plan(merged, x), to=0.4))
    for network in (merged, small):
        made = build(name, num_classes=5)
        again = resize(made, json.loads(json.dumps(recipe_between(made, network))))
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.eval()(x), network.eval()(x))
        assert str(again) == str(network)


def test_nothing_differs_between_equals():
    one, other = CNN(3, widths=(2, 4)), CNN(3, widths=(2, 4))
    recipe = recipe_between(one, other)
    assert not recipe["shapes"]
    assert not recipe["attributes"]


def test_other_modules_are_refused():
    with pytest.raises(UsageError, match="only one of them has 'layer3'"):
        recipe_between(CNN(3, widths=(2, 4)), CNN(3, widths=(2, 4, 4)))
