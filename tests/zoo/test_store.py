import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.networks import Taps, build, dense_names, resnet8, state_hash, taps
from mentorch.structure import plan, slim, split


def small(seed=0, **options):
    torch.manual_seed(seed)
    return resnet8(3, 1, widths=(4, 6, 8), stem=4, **options)


def described(name="small", **facts):
    arguments = {"num_classes": 3, "in_channels": 1, "widths": [4, 6, 8], "stem": 4}
    return zoo.Card(name, "resnet8", arguments, **facts)


def test_round_trip(tmp_path):
    network = small()
    network(torch.randn(4, 1, 8, 8))  # running statistics differ from their start
    facts = {"classes": ("a", "b", "c"), "tags": {"rank": 1}, "metrics": {"test": {"accuracy": 0.5}}}
    card = zoo.save(network, str(tmp_path / "n"), described(**facts))
    assert card.hash == state_hash(network)
    loaded, read = zoo.load(str(tmp_path / "n"))
    assert read == card
    assert read.metrics == facts["metrics"]
    assert state_hash(loaded) == card.hash
    assert not loaded.training
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(images), network.eval()(images))
    assert sorted(p.name for p in (tmp_path / "n").iterdir()) == ["card.json", "model.safetensors"]


def test_saving_again_replaces_both_files(tmp_path):
    first = zoo.save(small(0), tmp_path, described())
    second = zoo.save(small(1), tmp_path, described(version="2"))
    assert first.hash != second.hash
    assert zoo.load(tmp_path)[1] == second


def test_loading_leaves_the_random_state_alone(tmp_path):
    zoo.save(small(), tmp_path, described())
    before = torch.random.get_rng_state()
    zoo.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dtype_is_kept(tmp_path):
    network = small().to(torch.bfloat16)
    zoo.save(network, tmp_path, described())
    loaded, _ = zoo.load(tmp_path)
    assert loaded.fc.weight.dtype == torch.bfloat16
    assert state_hash(loaded) == state_hash(network)


def test_memory_layout_is_no_obstacle(tmp_path):
    network = small().to(memory_format=torch.channels_last)
    zoo.save(network, tmp_path, described())
    assert state_hash(zoo.load(tmp_path)[0]) == state_hash(network)


@pytest.fixture
def tied(tmp_path, monkeypatch):
    (tmp_path / "ties.py").write_text(
        "from torch import nn\n"
        "class Tied(nn.Module):\n"
        "    def __init__(self, num_classes, in_channels=3):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(num_classes, num_classes)\n"
        "        self.b = nn.Linear(num_classes, num_classes)\n"
        "        self.b.weight = self.a.weight\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield build("ties:Tied", num_classes=4)
    sys.modules.pop("ties", None)


def test_tied_weights_stay_tied(tmp_path, tied):
    zoo.save(tied, tmp_path / "n", zoo.Card("t", "ties:Tied", {"num_classes": 4}))
    with pytest.raises(UsageError, match="pass trust=True"):
        zoo.load(tmp_path / "n")
    loaded, _ = zoo.load(tmp_path / "n", trust=True)
    assert loaded.b.weight is loaded.a.weight
    assert state_hash(loaded) == state_hash(tied)


def test_taps_of_the_card_serve_networks_without_their_own(tmp_path, tied):
    card = zoo.Card("t", "ties:Tied", {"num_classes": 4}, taps=Taps("a", ("a",), "b:in"))
    zoo.save(tied, tmp_path / "n", card)
    assert taps(zoo.load(tmp_path / "n", trust=True)[0]) == card.taps
    zoo.save(small(), tmp_path / "own", described(taps=card.taps))
    assert taps(zoo.load(tmp_path / "own")[0]).embedding == "fc:in"


def test_views_of_one_large_tensor_are_stored_at_their_own_size(tmp_path):
    network = small()
    large = torch.randn(10_000)
    network.fc.bias = nn.Parameter(large[:3])
    zoo.save(network, tmp_path, described())
    assert (tmp_path / "model.safetensors").stat().st_size < 20_000


def test_a_card_is_read_without_its_weights(tmp_path):
    card = zoo.save(small(), tmp_path, described())
    (tmp_path / "model.safetensors").unlink()
    assert zoo.read(tmp_path) == card
    with pytest.raises(RunError, match=r"has a card but no model\.safetensors"):
        zoo.load(tmp_path)


def test_other_weights_under_the_same_card(tmp_path):
    zoo.save(small(0), tmp_path, described())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["fc.bias"][0] += 1e-6
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="is not what its card says: hash"):
        zoo.load(tmp_path)


def test_truncated_weights(tmp_path):
    zoo.save(small(), tmp_path, described())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match="damaged or truncated"):
        zoo.load(tmp_path)


def edit(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"hash": None}, RunError, "cannot be verified"),
        ({"schema": "other"}, RunError, "card.json is not a card: its schema"),
        ({"unheard": 1}, RunError, "unheard"),
        ({"network": "resnet9999x"}, UsageError, "unknown network"),
        ({"arguments": {"num_classes": 3}}, RunError, "model.safetensors does not fit ResNet"),
    ],
)
def test_damaged_cards(tmp_path, changes, error, message):
    zoo.save(small(), tmp_path, described())
    edit(tmp_path, **changes)
    with pytest.raises(error, match=message.replace(".", r"\.")):
        zoo.load(tmp_path)


def test_broken_json_and_no_card(tmp_path):
    with pytest.raises(UsageError, match=r"not a stored network: it has no card\.json"):
        zoo.read(tmp_path)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(RunError, match="damaged or not JSON"):
        zoo.read(tmp_path)


def test_code_in_the_folder_is_not_executed(tmp_path, monkeypatch):
    zoo.save(small(), tmp_path, described())
    for name in ("hubconf", "resnet8", "card", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    zoo.load(tmp_path)
    assert not (tmp_path / "ran").exists()
    assert sys.path == path


def test_a_card_of_another_network_is_found_when_saving(tmp_path):
    with pytest.raises(UsageError, match="card 'small' describes another network"):
        zoo.save(resnet8(3, 1), tmp_path / "n", described())
    assert not (tmp_path / "n").exists()


def test_what_json_cannot_hold_is_found_when_saving(tmp_path):
    for metrics in ({"accuracy": torch.tensor(0.5)}, {"loss": float("nan")}):
        with pytest.raises(UsageError, match="card 'small' cannot be written"):
            zoo.save(small(), tmp_path / "n", described(metrics=metrics))
    assert not (tmp_path / "n").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        zoo.save(small(), tmp_path / "file" / "n", described())


def test_tags_are_added_and_replaced(tmp_path):
    before = zoo.save(small(), tmp_path, described(tags={"a": 1, "b": "x"}))
    after = zoo.tag(tmp_path, {"b": 2.5, "c": True})
    assert after.tags == {"a": 1, "b": 2.5, "c": True}
    assert zoo.load(tmp_path)[1] == after
    assert after.hash == before.hash
    with pytest.raises(UsageError, match="cannot be written"):
        zoo.tag(tmp_path, {"d": [1, 2]})
    assert zoo.read(tmp_path) == after


@pytest.mark.parametrize("name", ["cnn_tiny", "resnet8", "wrn_16_1", "vgg8", "mobilenet_v2", "shufflenet_v2"])
def test_a_slim_network_is_kept_as_builder_and_recipe(tmp_path, name):
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "in_channels": 3}
    dense, images = build(name, **arguments, image_size=32), torch.randn(2, 3, 32, 32)
    part = split(plan(dense, images[:1]), 0.5)
    network = slim(dense, part)
    card = zoo.save(network, tmp_path / "n", zoo.Card("n", name, arguments, structure=(part.recipe(),)))
    before = torch.random.get_rng_state()
    loaded, read = zoo.load(tmp_path / "n")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert read == card
    assert state_hash(loaded) == state_hash(network)
    with torch.no_grad():
        assert torch.equal(loaded(images), network.eval()(images))
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    assert (tmp_path / "n/model.safetensors").stat().st_size < size + 200 * len(network.state_dict()) + 200


def test_a_slim_network_made_slimmer_has_two_recipes(tmp_path):
    network, structure = small(), ()
    for _ in range(2):
        part = split(plan(network, torch.zeros(1, 1, 8, 8)), 0.5)
        network, structure = slim(network, part), (*structure, part.recipe())
    zoo.save(network, tmp_path, described(structure=structure))
    loaded, _ = zoo.load(tmp_path)
    assert state_hash(loaded) == state_hash(network)
    with pytest.raises(UsageError, match=r"describes another network: .* has shape"):
        zoo.save(network, tmp_path, described(structure=structure[:1]))
    with pytest.raises(UsageError, match="describes another network: the recipe is of another network"):
        zoo.save(network, tmp_path, described(structure=structure[::-1]))


def test_a_card_with_a_damaged_recipe_is_refused(tmp_path):
    part = split(plan(small(), torch.zeros(1, 1, 8, 8)), 0.5)
    zoo.save(slim(small(), part), tmp_path, described(structure=(part.recipe(),)))
    path = tmp_path / "card.json"
    card = json.loads(path.read_text())
    for damage, message in (
        ({"shapes": 3}, "recipe of a smaller network is damaged"),
        ({"schema": "other"}, "no recipe of a smaller network"),
        ({"network": "0" * 64}, "recipe is of another network"),
    ):
        path.write_text(json.dumps(card | {"structure": [card["structure"][0] | damage]}))
        with pytest.raises(RunError, match=message):
            zoo.load(tmp_path)
    path.write_text(json.dumps(card | {"structure": [3]}))
    with pytest.raises(RunError, match=r"structure\.0"):
        zoo.load(tmp_path)


def test_cards_from_before_structure_still_load(tmp_path):
    zoo.save(small(), tmp_path, described())
    path = tmp_path / "card.json"
    card = json.loads(path.read_text())
    del card["structure"]
    path.write_text(json.dumps(card))
    assert zoo.load(tmp_path)[1].structure == ()


@pytest.mark.parametrize("name", [*dense_names(), "deeplab_resnet8", "deeplab_mobilenet_v2", "branched"])
def test_networks_that_answer_at_every_pixel(name, tmp_path):
    over = {"rates": [1, 2], "width": 32}
    if name == "branched":
        options = {"trunk": "deeplab_resnet8", "options": over, "branches": {"a": [1, 2], "b": [0, 3]}}
    else:
        options = {**over, "width": 8} if name.startswith("deeplab") else {"widths": [4, 6]}
        options |= {"depths": [1, 2]} if name.startswith("segnet") else {}
    network = build(name, num_classes=5, options=options).eval()
    zoo.save(network, tmp_path, zoo.Card("n", name, {"num_classes": 5, **options}))
    loaded, _ = zoo.load(tmp_path)
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0)
