"""Image classifiers of transformers, where it is installed; nothing is fetched."""

import pytest
import torch

from mentorch._errors import RunError, UsageError
from mentorch.networks import build, state_hash, taps

pytest.importorskip("transformers")

SMALL = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "patch_size": 8}


def vit(**changes):
    return build("hf:vit", num_classes=7, in_channels=1, image_size=32, options=SMALL | changes)


def test_a_model_type_becomes_a_network_that_returns_logits():
    assert vit()(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_a_saved_folder_comes_back_with_its_weights(tmp_path):
    network = vit()
    network.network.save_pretrained(tmp_path)
    again = build(f"hf:{tmp_path}", num_classes=7)
    assert state_hash(again) == state_hash(network)
    with pytest.raises(UsageError, match="knows 7 classes, not 9"):
        build(f"hf:{tmp_path}", num_classes=9)
    with pytest.raises(UsageError, match="takes no options"):
        build(f"hf:{tmp_path}", num_classes=7, options={"trust_remote_code": True})


def test_what_is_not_there(tmp_path):
    with pytest.raises(RunError, match="cannot be loaded"):
        build(f"hf:{tmp_path}", num_classes=7)
    with pytest.raises(UsageError, match="hf:bert cannot be built"):
        build("hf:bert", num_classes=7)


def test_it_says_nothing_about_its_taps():
    with pytest.raises(UsageError, match="top modules: network"):
        taps(vit())
