import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mentorch import RunError, UsageError, networks, zoo
from mentorch.cli import _networks
from mentorch.data import Dataset, Normalize, Split


def dataset(classes: int = 4, channels: int = 1, size: int = 8, name: str = "shapes") -> Dataset:
    draw = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=draw)
        return Split(images, torch.arange(count) % classes, torch.arange(count))

    return Dataset.of(
        name, train=split(12), validation=split(8), test=split(8), classes=[f"c{i}" for i in range(classes)]
    )


def kept(folder: Path, data: Dataset, **changes: object) -> Path:
    network = networks.cnn_tiny(data.num_classes, data.channels)
    named = _networks.Named(network, "cnn_tiny", {"num_classes": data.num_classes, "in_channels": data.channels})
    card = _networks.card("kept", named, data, Normalize(data.mean, data.std), metrics={}, training={})
    zoo.save(network, folder, dataclasses.replace(card, **changes))
    return folder


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("resnet56", ("resnet56", None)),
        ("resnet56:a/b.safetensors", ("resnet56", "a/b.safetensors")),
        ("resnet56:w.pth", ("resnet56", "w.pth")),
        ("timm:resnet18", ("timm:resnet18", None)),
        ("timm:resnet18:w.pt", ("timm:resnet18", "w.pt")),
        ("package.module:function", ("package.module:function", None)),
        (":w.pt", (":w.pt", None)),
        ("a/b.safetensors", ("a/b.safetensors", None)),
    ],
)
def test_a_text_is_a_name_and_maybe_weights(text: str, parts: tuple[str, str | None]) -> None:
    assert _networks.split(text) == parts


def test_a_name_is_a_fresh_network_for_the_data() -> None:
    data = dataset(classes=4, channels=2)
    named = _networks.make("cnn_tiny", data)
    assert named.network(torch.zeros(3, 2, 8, 8)).shape == (3, 4)
    assert (named.source, named.view, named.card) == ("", None, None)
    assert named.arguments == {"num_classes": 4, "in_channels": 2}


def test_options_reach_the_builder_and_the_card() -> None:
    named = _networks.make("resnet8", dataset(channels=3), options={"shortcut": "conv"})
    assert named.arguments["shortcut"] == "conv"
    assert type(named.network.layer2[0].shortcut) is not type(networks.resnet8().layer2[0].shortcut)
    with pytest.raises(UsageError, match="unknown option of resnet8 'shortct'"):
        _networks.make("resnet8", dataset(channels=3), options={"shortct": "conv"})


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    data = dataset()
    source = networks.cnn_tiny(4, 1)
    path = tmp_path / f"w.{suffix}"
    save_file(state(source), path) if suffix == "safetensors" else torch.save(source.state_dict(), path)
    for named in (_networks.make(f"cnn_tiny:{path}", data), _networks.make("cnn_tiny", data, str(path))):
        assert named.source == str(path)
        assert all(torch.equal(value, source.state_dict()[name]) for name, value in named.network.state_dict().items())


def test_weights_are_said_once(tmp_path: Path) -> None:
    data = dataset()
    path = tmp_path / "w.safetensors"
    save_file(state(networks.cnn_tiny(4, 1)), path)
    with pytest.raises(UsageError, match="already names its weights"):
        _networks.make(f"cnn_tiny:{path}", data, str(path))
    folder = kept(tmp_path / "kept", data)
    with pytest.raises(UsageError, match="has its own weights"):
        _networks.make(str(folder), data, str(path))
    with pytest.raises(UsageError, match="has its own weights"):
        _networks.make(str(folder), data, options={"widths": (1,)})


def test_a_folder_with_a_card_brings_weights_and_normalisation(tmp_path: Path) -> None:
    data = dataset()
    named = _networks.make(str(kept(tmp_path / "kept", data)), data)
    assert named.card is not None
    assert named.source == str(tmp_path / "kept")
    assert isinstance(named.view, Normalize)
    assert named.view.mean.flatten().tolist() == pytest.approx(data.mean)
    assert not named.network.training


def test_a_network_of_other_classes_is_refused(tmp_path: Path) -> None:
    folder = str(kept(tmp_path / "kept", dataset(classes=4)))
    with pytest.raises(UsageError, match="knows 4 classes, 'shapes' has 5"):
        _networks.make(folder, dataset(classes=5))
    with pytest.raises(UsageError, match="reads images of 1 channels, those of 'shapes' have 3"):
        _networks.make(folder, dataset(channels=3))
    other = str(kept(tmp_path / "other", dataset(), classes=("c0", "c2", "c1", "c3")))
    with pytest.raises(UsageError, match="class 1 is 'c2' there and 'c1' here"):
        _networks.make(other, dataset())
    unnamed = str(kept(tmp_path / "unnamed", dataset(), classes=()))
    assert _networks.make(unnamed, dataset()).card is not None


def test_weights_of_another_network_or_number_of_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(networks.cnn_tiny(7, 1)), path)
    with pytest.raises(UsageError, match="knows 7 classes, the network 4"):
        _networks.make(f"cnn_tiny:{path}", dataset())
    with pytest.raises(UsageError, match="does not fit CNN"):
        _networks.make(f"cnn_small:{path}", dataset())
    with pytest.raises(UsageError, match="do not exist"):
        _networks.make("cnn_tiny:nowhere.pt", dataset())
    with pytest.raises(UsageError, match=r"are a folder: name the file in it, such as .*/model.safetensors"):
        _networks.make("cnn_tiny", dataset(), str(tmp_path))


class Malice:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_a_file_that_needs_code_is_refused_and_not_executed(tmp_path: Path, name: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / name
    if name == "w.pt":
        torch.save({"fc.weight": Malice(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"fc.weight": Malice(mark)}))
    with pytest.raises(RunError, match=f"{name}.*(needs code|damaged)"):
        _networks.make(f"cnn_tiny:{path}", dataset())
    assert not mark.exists()


def test_a_card_folder_whose_weights_are_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    mark, folder = tmp_path / "mark", kept(tmp_path / "kept", dataset())
    (folder / "model.safetensors").write_bytes(pickle.dumps(Malice(mark)))
    with pytest.raises(RunError, match=r"model\.safetensors"):
        _networks.make(str(folder), dataset())
    assert not mark.exists()


def test_a_card_that_imports_a_package_is_refused(tmp_path: Path) -> None:
    folder = kept(tmp_path / "kept", dataset())
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"network": "os:getcwd"}))
    with pytest.raises(UsageError, match="imports 'os:getcwd'"):
        _networks.make(str(folder), dataset())


def test_a_folder_without_a_card_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder without card\.json"):
        _networks.make(str(tmp_path), dataset())


def test_normalisation_needs_both_numbers_for_each_channel() -> None:
    data = dataset(channels=3)
    assert _networks.normalisation(None, None, data) is None
    made = _networks.normalisation((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), data)
    assert made is not None
    assert made.std.flatten().tolist() == [1.0, 2.0, 3.0]
    for mean, std in (((0.5,), None), (None, (0.5,)), ((0.5,), (0.5,)), ((0.5,) * 3, (0.5,))):
        with pytest.raises(UsageError, match=r"one number per channel \(3\)"):
            _networks.normalisation(mean, std, data)


@pytest.mark.parametrize(("channels", "order"), [(1, "gray"), (3, "rgb"), (4, "rgbd")])
def test_a_card_says_what_the_network_was_fed(channels: int, order: str) -> None:
    data = dataset(channels=channels)
    named = _networks.make("cnn_tiny", data)
    card = _networks.card("n", named, data, Normalize(data.mean, data.std), metrics={"a": 1}, training={"seed": 0})
    assert card.input is not None
    assert (card.input.channels, card.input.size, card.input.order) == (channels, (8, 8), order)
    assert card.input.mean == pytest.approx(data.mean)
    assert card.classes == data.classes
    plain = _networks.card("n", named, data, None, metrics={}, training={}).input
    assert plain is not None
    assert (plain.mean, plain.std) == ((0.0,) * channels, (1.0,) * channels)


def test_weights_of_other_classes_begin_a_training_and_the_card_says_so(tmp_path: Path) -> None:
    save_file(networks.cnn_tiny(9, 1).state_dict(), tmp_path / "w.safetensors")
    text = f"cnn_tiny:{tmp_path / 'w.safetensors'}"
    with pytest.raises(UsageError, match="knows 9 classes, the network 4"):
        _networks.make(text, dataset())
    named = _networks.make(text, dataset(), new_head=True)
    assert named.network.fc.out_features == 4
    card = _networks.card("it", named, dataset(), None, metrics={}, training={"epochs": 1})
    assert card.training == {"epochs": 1, "weights": "w.safetensors"}
