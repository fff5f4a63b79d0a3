import pytest
import torch

from mentorch import UsageError
from mentorch.networks import Branched, EncoderDecoder, build, dense_names

PLAN = {"both": [1, {"a": [3, 7], "b": [2, 3]}], "c": [2, 1]}


@pytest.mark.parametrize("name", ["segnet_tiny", "unet_tiny", "deeplab_resnet8"])
def test_by_name(name):
    network = build(name, num_classes=5, in_channels=2)
    assert isinstance(network, EncoderDecoder)
    assert network(torch.rand(1, 2, 33, 40)).shape == (1, 5, 33, 40)


def test_names():
    assert dense_names() == ["segnet", "segnet_tiny", "unet", "unet_tiny"]


def test_options_go_through():
    assert build("segnet_tiny", num_classes=2, options={"widths": [8, 8], "depths": [1, 1]}).widths == (8, 8, 8)
    assert build("deeplab_resnet8", num_classes=2, options={"rates": [1], "width": 8}).widths[1] == 8
    with pytest.raises(UsageError, match="unknown option of segnet 'width'"):
        build("segnet", num_classes=2, options={"width": 3})


def test_a_branched_network_is_what_its_plan_says():
    options = {"trunk": "segnet_tiny", "options": {"widths": [8, 8, 8, 8]}, "branches": PLAN}
    network = build("branched", num_classes=11, options=options)
    assert isinstance(network, Branched)
    assert network.tree.plan() == PLAN
    assert network.widths == (8, 8, 8, 8, 8)
    assert {k: v.shape[1] for k, v in network(torch.rand(1, 3, 16, 16)).items()} == {"a": 7, "b": 3, "c": 1}


def test_plans_that_are_wrong():
    with pytest.raises(UsageError, match="11 outputs together, not 4"):
        build("branched", num_classes=4, options={"branches": PLAN})
    with pytest.raises(UsageError, match="resnet8 has no decoder blocks"):
        build("branched", num_classes=11, options={"trunk": "resnet8", "branches": PLAN})
    with pytest.raises(UsageError, match="unknown network 'deeplap_resnet8'"):
        build("deeplap_resnet8", num_classes=2)
