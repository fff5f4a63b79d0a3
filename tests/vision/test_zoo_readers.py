"""Networks of timm and transformers go into a zoo with what these know about them; nothing is fetched."""

import json

import pytest
import torch

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.networks import embedding, state_hash


def test_timm_tells_size_normalisation_and_classes(tmp_path):
    timm = pytest.importorskip("timm")
    network, card = zoo.from_timm("resnet10t", pretrained=False, num_classes=5)
    facts = timm.get_pretrained_cfg("resnet10t")
    assert (card.input.mean, card.input.std, card.input.size) == (facts.mean, facts.std, facts.input_size[1:])
    assert embedding(network) == "fc:in"
    zoo.save(network, tmp_path / "n", card)
    again, _ = zoo.load(tmp_path / "n")
    assert state_hash(again) == state_hash(network)
    assert zoo.prepared(again, card)(torch.rand(2, 3, 40, 30)).shape == (2, 5)
    with pytest.raises(UsageError, match="timm keeps no record of 'resnet10000'"):
        zoo.from_timm("resnet10000")


def test_transformers_are_rebuilt_from_their_configuration_without_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    names = {0: "cat", 1: "dog", 2: "owl"}
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    configuration = transformers.ViTConfig(**sizes, patch_size=8, image_size=32, id2label=names)
    place = tmp_path / "owls"
    transformers.ViTForImageClassification(configuration).save_pretrained(place)
    preprocessor = {
        "do_resize": True,
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }
    (place / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    network, card = zoo.from_hf(str(place))
    assert (card.name, card.network, card.classes) == ("owls", "hf:vit", ("cat", "dog", "owl"))
    assert card.input == zoo.Input(3, (32, 32), (0.5,) * 3, (0.25,) * 3, resize="stretch")
    zoo.save(network, tmp_path / "zoo/n", card)
    images, expected = torch.rand(2, 3, 32, 32), None
    with torch.no_grad():
        expected = network.eval()((images - 0.5) / 0.25)
    for path in place.iterdir():
        path.unlink()
    again, _ = zoo.load(tmp_path / "zoo/n")
    assert state_hash(again) == state_hash(network)
    with torch.no_grad():
        torch.testing.assert_close(zoo.prepared(again, card)(images), expected)
    path, _, pick = embedding(again).partition(":")
    assert (pick, again.get_submodule(path).out_features) == ("in", 3)


def test_a_preprocessor_that_crops_and_one_that_is_missing(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    configuration = transformers.ViTConfig(**sizes, patch_size=8, image_size=32)
    transformers.ViTForImageClassification(configuration).save_pretrained(tmp_path)
    assert zoo.from_hf(str(tmp_path))[1].input is None
    facts = {"do_center_crop": True, "crop_size": 32, "size": {"shortest_edge": 36}, "do_normalize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts | {"rescale_factor": 1 / 127.5}))
    found = zoo.from_hf(str(tmp_path))[1].input
    assert (found.size, found.resize, found.mean, found.range) == ((32, 32), "crop", (0.0,) * 3, (0.0, 2.0))


def test_what_is_not_there(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(RunError, match="cannot be read"):
        zoo.from_hf(str(tmp_path))
