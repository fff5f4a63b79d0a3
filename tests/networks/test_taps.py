import dataclasses

import pytest
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import Taps, resnet8, taps


def test_own_taps():
    assert taps(resnet8()) == Taps("relu", ("layer1", "layer2", "layer3"), "fc:in")
    with pytest.raises(dataclasses.FrozenInstanceError):
        resnet8().taps.stem = "other"


class Foreign(nn.Module):
    """What timm networks look like from outside."""

    def __init__(self, classifier, modules=("act", "one", "two"), wrap=False):
        super().__init__()
        self.act, self.one, self.two, self.head = nn.ReLU(), nn.Identity(), nn.Identity(), nn.Linear(2, 2)
        records = [{"module": name, "num_chs": 8, "reduction": 2} for name in modules]
        self.feature_info = type("FeatureInfo", (), {"info": records})() if wrap else records
        self.pretrained_cfg = {"classifier": classifier}


@pytest.mark.parametrize("wrap", [False, True])
def test_what_timm_records(wrap):
    assert taps(Foreign("head", wrap=wrap)) == Taps("act", ("one", "two"), "head:in")


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(2, 2)),
        Foreign(("head", "head_dist")),
        Foreign("gone"),
        Foreign("head", ("act", "gone")),
        Foreign("head", ("act",)),
    ],
)
def test_networks_that_say_too_little(network):
    with pytest.raises(UsageError, match=rf"^{type(network).__name__} has no taps: name the address.*--tap embedding="):
        taps(network)
