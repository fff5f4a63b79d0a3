"""Networks of timm, where it is installed; random weights only."""

import pytest
import torch

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch.networks import Taps, build, load_weights, state_hash, taps

pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "convnext_atto", "vit_tiny_patch16_224"])
def test_timm_networks_take_any_channels_and_size(name):
    network = build(f"timm:{name}", num_classes=7, in_channels=1, image_size=64)
    assert network(torch.randn(2, 1, 64, 64)).shape == (2, 7)


def test_their_taps_come_from_their_own_records():
    network = build("timm:resnet18", num_classes=7)
    assert taps(network) == Taps("act1", ("layer1", "layer2", "layer3", "layer4"), "fc:in")
    seen = {}
    for address in ("layer4", "fc"):
        network.get_submodule(address).register_forward_hook(lambda m, i, o, a=address: seen.update({a: (i[0], o)}))
    network.eval()(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(seen["layer4"][1].mean((2, 3)), seen["fc"][0])


def test_two_classifiers_are_no_embedding():
    network = build("timm:deit_tiny_distilled_patch16_224", num_classes=3)
    with pytest.raises(UsageError, match="--tap embedding"):
        taps(network)


def test_unknown_names_and_options():
    with pytest.raises(UsageError, match=r"unknown timm network 'resnt18': did you mean .*'resnet18'"):
        build("timm:resnt18", num_classes=7)
    with pytest.raises(UsageError, match="drop_rat"):
        build("timm:resnet18", num_classes=7, options={"drop_rat": 0.1})


def test_a_checkpoint_that_timm_would_unpickle_is_refused():
    with pytest.raises(UsageError, match=r"use mentorch\.networks\.load_weights"):
        build("timm:resnet18", num_classes=7, options={"checkpoint_path": "x.pth"})


def test_options_reach_the_network():
    assert build("timm:resnet18", num_classes=7, options={"drop_rate": 0.25}).drop_rate == 0.25


def test_weights_and_zoo(tmp_path):
    network = build("timm:resnet10t", num_classes=4).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    assert state_hash(load_weights(build("timm:resnet10t", num_classes=4), tmp_path / "w.pt")) == state_hash(network)
    card = zoo.Card("t", "timm:resnet10t", {"num_classes": 4, "pretrained": True})
    zoo.save(network, tmp_path / "t", card)
    loaded, _ = zoo.load(tmp_path / "t")  # without network access: "pretrained" fetches nothing
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), network(images))


def test_torchvision_by_import_path():
    pytest.importorskip("torchvision.models")
    assert build("torchvision.models:resnet18", num_classes=5)(torch.randn(2, 3, 64, 64)).shape == (2, 5)
