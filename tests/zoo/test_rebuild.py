import sys

import pytest
import torch

from mentorch._errors import RunError, UsageError
from mentorch.networks import build
from mentorch.zoo import Card
from mentorch.zoo._rebuild import check_description, check_fit, rebuild


def test_arguments_reach_the_builder():
    arguments = {"num_classes": 4, "in_channels": 1, "image_size": [8, 8], "stem": 4, "widths": [4, 6, 8]}
    network = rebuild(Card("x", "resnet8", arguments), trust=False)
    assert (network.conv1.in_channels, network.fc.in_features, network.fc.out_features) == (1, 8, 4)


def test_the_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    rebuild(Card("x", "resnet8", {"num_classes": 4}), trust=False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_package_is_imported_only_when_trusted(tmp_path, monkeypatch):
    witness = tmp_path / "ran"
    (tmp_path / "strangers.py").write_text(
        f"import pathlib, torch\npathlib.Path({str(witness)!r}).touch()\n"
        "def net(num_classes, in_channels):\n    return torch.nn.Linear(in_channels, num_classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    card = Card("x", "strangers:net", {"num_classes": 4})
    with pytest.raises(UsageError, match="imports 'strangers:net': pass trust=True"):
        rebuild(card, trust=False)
    assert not witness.exists()
    assert "strangers" not in sys.modules
    assert rebuild(card, trust=True).out_features == 4
    assert witness.exists()
    del sys.modules["strangers"]


def test_cards_that_cannot_be_built():
    with pytest.raises(UsageError, match=r"arguments\.num_classes"):
        rebuild(Card("x", "resnet8"), trust=False)
    with pytest.raises(UsageError, match="unknown option of resnet8 'width'"):
        rebuild(Card("x", "resnet8", {"num_classes": 2, "width": 3}), trust=False)


def test_a_fit_is_exact(tmp_path):
    network = build("cnn_tiny", num_classes=4)
    state = network.state_dict()
    check_fit(network, state, tmp_path)
    missing = {name: tensor for name, tensor in state.items() if name != "fc.bias"}
    for wrong, message in (
        (missing, r"'fc\.bias' has shape none, expected \(4,\)"),
        (state | {"extra": torch.zeros(2)}, r"'extra' has shape \(2,\), expected none"),
        (state | {"fc.bias": torch.zeros(5)}, r"'fc\.bias' has shape \(5,\), expected \(4,\)"),
    ):
        with pytest.raises(RunError, match=message):
            check_fit(network, wrong, tmp_path)


def test_a_description_is_checked_for_networks_of_ours_only():
    state = build("cnn_tiny", num_classes=4).state_dict()
    check_description(Card("x", "cnn_tiny", {"num_classes": 4}), state)
    check_description(Card("x", "somebodys:net", {"num_classes": 4}), state)
    with pytest.raises(UsageError, match=r"card 'x' describes another network: .*'fc"):
        check_description(Card("x", "cnn_tiny", {"num_classes": 5}), state)
