import pytest
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import Taps, build, embedding, names


@pytest.mark.parametrize("name", names())
def test_every_network_of_ours_that_classifies_says_where_it_is(name):
    network = build(name, num_classes=3)
    path, _, pick = embedding(network).partition(":")
    assert pick == "in"
    assert isinstance(network.get_submodule(path), nn.Linear)


def test_records_of_timm_are_believed_where_they_name_a_module():
    network = nn.ModuleDict({"head": nn.Linear(2, 2)})
    network.pretrained_cfg = {"classifier": "head"}
    assert embedding(network) == "head:in"
    network.pretrained_cfg = {"classifier": "elsewhere"}
    with pytest.raises(UsageError, match=r"ModuleDict does not say where its embedding is.*top modules: head"):
        embedding(network)


def test_nothing_is_guessed_from_the_order_of_modules():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="name the address"):
        embedding(network)
    network.taps = Taps("0", (), "1:in")
    assert embedding(network) == "1:in"
