import json
import shutil
from pathlib import Path

import pytest

from mentorch import data, losses, networks

from .conftest import QUICK, call


def test_all_data_sets_are_listed_with_where_they_are(mentorch) -> None:
    result = mentorch("data", "list")
    assert (result.code, result.err) == (0, "")
    for name in data.names():
        if ":" not in name:
            assert name in result.out
    assert "comes with scikit-learn" in result.out


def test_a_data_set_is_read_and_described(mentorch) -> None:
    result = mentorch("data", "info", "digits")
    found = data.load("digits")
    assert result.code == 0
    for text in (f"{len(found.train):,} images", "1x8x8", f"{found.mean[0]:.4f}", found.fingerprint, "10: 0, 1, 2"):
        assert text in result.out, text


def test_networks_are_listed_with_their_cost(mentorch) -> None:
    result = mentorch("zoo", "networks", "--classes", "10", "--size", "32")
    assert (result.code, result.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.strip()}
    assert set(networks.names()) <= set(lines)
    parameters = sum(p.numel() for p in networks.build("resnet20", num_classes=10).parameters())
    assert lines["resnet20"][0] == f"{parameters:,}"
    assert int(lines["resnet20"][1].replace(",", "")) > 4e7


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
    result = mentorch("zoo", "info", taught)
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
    for words in (("zoo", "info", folder), ("compare", *QUICK, "--teacher", folder)):
        result = mentorch(*words)
        assert result.code == 1
        assert "is not what its card says" in result.error


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "mentorch.card/1"}'])
def test_a_damaged_card_is_named(mentorch, tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    for words in (("zoo", "info", tmp_path), ("zoo", "list", tmp_path), ("compare", *QUICK, "--teacher", tmp_path)):
        result = mentorch(*words)
        assert result.code == 1
        assert "card.json" in result.error


def test_a_zoo_of_nothing_is_no_error(mentorch, tmp_path: Path) -> None:
    result = mentorch("zoo", "list", tmp_path)
    assert result.code == 0
    assert "no network is kept below" in result.err
