import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mentorch import losses, networks, zoo

from .conftest import QUICK, call


def test_methods_are_listed_with_their_papers(mentorch) -> None:
    result = mentorch("methods")
    assert (result.code, result.err) == (0, "")
    for name, info in losses.catalogue().items():
        assert (f" {name} " in result.out) == (info.teacher and info.by_name)
    assert "1503.02531" in result.out


def test_kept_networks_are_listed_also_of_several_runs(mentorch) -> None:
    for name in ("one", "two"):
        assert call("compare", *QUICK, "--teacher", "cnn_tiny", "--min-teacher-acc", "0", "--name", name).code == 0
    result = mentorch("zoo", "list")
    assert (result.code, result.err) == (0, "")
    for text in ("one/teacher", "two/teacher", "runs/one/nodes/teacher", "cnn_tiny", "digits", "%"):
        assert text in result.out, text


def test_a_card_is_shown_as_json(mentorch, taught: Path) -> None:
    result = mentorch("zoo", "describe", taught)
    assert result.code == 0
    card = json.loads(result.out)
    assert card["network"] == "cnn_small"
    assert card["classes"] == [str(i) for i in range(10)]
    assert card["metrics"]["test"]["best"]["accuracy"] > 0.5


def test_a_card_whose_weights_were_changed_is_refused(mentorch, taught: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "copy")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 64
    weights.write_bytes(bytes(content))
    for words in (("zoo", "describe", folder), ("compare", *QUICK, "--teacher", folder)):
        result = mentorch(*words)
        assert result.code == 1
        assert "is not what its card says" in result.error


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "mentorch.card/1"}'])
def test_a_damaged_card_is_named(mentorch, tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    for words in (("zoo", "describe", tmp_path), ("zoo", "list", tmp_path), ("compare", *QUICK, "--teacher", tmp_path)):
        result = mentorch(*words)
        assert result.code == 1
        assert "card.json" in result.error


def test_a_zoo_of_nothing_is_no_error(mentorch, tmp_path: Path) -> None:
    result = mentorch("zoo", "list", tmp_path)
    assert result.code == 0
    assert "no network is kept below" in result.err


def test_nodes_of_a_run_go_straight_into_a_zoo(mentorch, taught: Path) -> None:
    run = taught.parents[1]
    result = mentorch("zoo", "add", run, "zoo")
    assert (result.code, result.err) == (0, "")
    folder = Path(result.out.strip())
    assert folder == Path("zoo/t-scratch-seed-0")
    assert zoo.read(folder) == zoo.read(taught)
    assert mentorch("zoo", "check", "zoo").code == 0
    again = mentorch("zoo", "add", taught, "zoo")
    assert again.code == 2
    assert "has a network called 't/scratch-seed-0'" in again.error
    other = mentorch("zoo", "add", taught, "zoo", "--name", "digits teacher", "--licence", "CC0")
    assert other.out.strip() == "zoo/digits-teacher"
    assert zoo.read("zoo/digits-teacher").licence == "CC0"
    assert len(list(zoo.entries("zoo"))) == 2


def test_a_card_says_who_taught_with_which_edges_and_from_which_data(mentorch, taught: Path) -> None:
    words = ("--method", "kd", "--save-students", "all", "--name", "d")
    assert mentorch("distill", taught, "cnn_tiny", "digits", *QUICK, *words).code == 0
    cards = {entry.card.training["method"]: entry.card for entry in zoo.entries("runs/d/nodes")}
    assert cards["kd"].parents == (zoo.read(taught).hash,)
    assert any(line.startswith("teacher -> student: kd") for line in cards["kd"].edges)
    assert cards["scratch"].parents == ()
    assert cards["scratch"].edges == ("labels -> student: cross_entropy  x 1",)
    data = json.loads(Path("runs/d/results.json").read_text())["data"]
    assert {card.fingerprint for card in cards.values()} == {data["fingerprint"]}


def test_weights_with_a_name_get_a_card(mentorch, tmp_path: Path) -> None:
    network = networks.build("resnet8", num_classes=4)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    words = ("--classes", "4", "--mean", "0.4,0.5,0.6", "--std", "0.2,0.2,0.2", "--dataset", "four things")
    result = mentorch("zoo", "add", "resnet8:mine.safetensors", "zoo", *words)
    assert result.code == 0, result.err
    card = zoo.read("zoo/mine")
    assert (card.hash, card.dataset) == (networks.state_hash(network), "four things")
    assert card.input == zoo.Input(3, (32, 32), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    wrong = mentorch("zoo", "add", "resnet8:mine.safetensors", "zoo", "--mean", "half")
    assert wrong.code == 2
    assert "'half' is not numbers with commas" in wrong.error
    assert "is no folder" in mentorch("zoo", "add", "resnet8", "zoo").error


def test_check_names_every_network_that_lies(mentorch, taught: Path) -> None:
    for name in ("good", "bad"):
        shutil.copytree(taught, Path("zoo") / name)
        path = Path("zoo") / name / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    weights = Path("zoo/bad/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 64
    weights.write_bytes(bytes(content))
    assert mentorch("zoo", "list", "zoo").code == 0  # weights are not read for a list
    result = mentorch("zoo", "check", "zoo")
    assert result.code == 1
    assert "1 of 2 networks below zoo cannot be used, the first is bad" in result.error
    assert "good" in result.out


def test_an_exported_program_goes_into_a_zoo_with_what_it_is_fed(mentorch) -> None:
    network = networks.build("cnn_tiny", num_classes=4, in_channels=1).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=shapes), "net.pt2")
    result = mentorch("zoo", "add", "net.pt2", "zoo", "--mean", "0.3", "--std", "0.2", "--dataset", "digits")
    assert (result.code, result.out.strip()) == (0, "zoo/net"), result.err
    found, card = zoo.load("zoo/net")
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(found(images), network(images))
    assert card.input == zoo.Input(1, (8, 8), (0.3,), (0.2,), "gray")
    assert mentorch("zoo", "check", "zoo").code == 0
    shown = json.loads(mentorch("zoo", "describe", "zoo/net").out)["arguments"]
    assert shown["program"].endswith(" calls, see zoo/net/card.json")
    assert "1 channels: --mean and --std need as many" in mentorch("zoo", "add", "net.pt2", "zoo", "--name", "b").error
    Path("bad.pt2").write_text("no")
    assert "is no file of torch.export" in mentorch("zoo", "add", "bad.pt2", "zoo").error
