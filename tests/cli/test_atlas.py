"""``mentorch atlas``, as a user calls it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mentorch import networks, zoo


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of six networks, and one that is torn."""
    root = tmp_path_factory.mktemp("zoo")
    for i in range(6):
        torch.manual_seed(i)
        name, channels = ("cnn_tiny", "cnn_small")[i % 2], (1, 3)[i // 3]
        network = networks.build(name, num_classes=10, in_channels=channels)
        order = "gray" if channels == 1 else "rgb"
        given = zoo.Input(channels, (8, 8), (0.3,) * channels, (0.3,) * channels, order)
        arguments = {"num_classes": 10, "in_channels": channels}
        zoo.save(network, root / f"n{i}", zoo.Card(f"n{i}", name, arguments, dataset="digits", input=given))
    (root / "torn").mkdir()
    (root / "torn" / "card.json").write_text("{")
    return root


def test_a_zoo_becomes_a_map_and_a_new_network_one_row(mentorch, kept: Path, tmp_path: Path) -> None:
    root = shutil.copytree(kept, tmp_path / "zoo")
    result = mentorch("atlas", root, "--count", "12", "--k", "2", "--weight", "0.25", "--parquet")
    assert result.code == 0, result.err
    assert "left out: torn: " in result.err
    assert "page: runs/atlas-zoo/atlas.html" in result.err
    assert "6 networks" in result.out
    run = tmp_path / "runs" / "atlas-zoo"
    files = ("atlas.graphml", "atlas.html", "atlas.json", "atlas.png", "links.parquet", "map.safetensors")
    assert all((run / name).is_file() for name in files)
    record = json.loads((run / "atlas.json").read_text())
    assert (record["k"], record["weight"], len(record["links"])) == (2, 0.25, 12)
    assert (record["made"]["probes"], record["frame"]["count"]) == (["digits"], 12)
    size = (run / "embeddings" / "rows.bin").stat().st_size
    page = (run / "atlas.html").read_text()
    (run / "atlas.html").unlink()
    assert mentorch("report", run).out.strip() == str(run / "atlas.html")
    assert (run / "atlas.html").read_text() == page
    for words in ((run, "--out", "elsewhere"), (run, run)):
        assert f"{run} is an atlas" in mentorch("report", *words).error

    network, card = zoo.load(root / "n1")
    with torch.no_grad():
        network.fc.bias.add_(1)
    zoo.save(network, root / "n9", zoo.Card("n9", card.network, card.arguments, input=card.input))
    assert mentorch("atlas", root, "--count", "12").code == 0
    assert (run / "embeddings" / "rows.bin").stat().st_size == size * 7 // 6
    assert len(json.loads((run / "atlas.json").read_text())["networks"]) == 7


def test_parts_of_a_zoo_are_embedded_one_by_one(mentorch, kept: Path, tmp_path: Path) -> None:
    words = ("atlas", kept, "--count", "12", "--name", "parts")
    for part in ("1/2", "2/2"):
        assert mentorch(*words, "--shard", part).code == 0
    run = tmp_path / "runs" / "parts"
    assert not (run / "atlas.json").exists()
    before = (run / "embeddings" / "rows.bin").read_bytes()
    result = mentorch(*words, "--json")
    assert [network["name"] for network in json.loads(result.out)["networks"]] == [f"n{i}" for i in range(6)]
    assert (run / "embeddings" / "rows.bin").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("nowhere",), 2, "nowhere is not a folder"),
        ((".",), 2, "no network is kept below"),
        (("ZOO", "--probes", "digit"), 2, "did you mean 'digits'"),
        (("ZOO", "--probes", ","), 2, "at least one data set"),
        (("ZOO", "--count", "5000"), 2, "5000 are asked for"),
        (("ZOO", "--shard", "3/2"), 2, "--shard is written I/N"),
        (("ZOO", "--at", "layer7", "--count", "12"), 1, "no network is left"),
        (("ZOO", "--weight", "-1"), 2, "weight"),
    ],
)
def test_wrong_use_is_one_line(mentorch, kept: Path, words: tuple[str, ...], code: int, text: str) -> None:
    result = mentorch("atlas", *(kept if word == "ZOO" else word for word in words))
    assert result.code == code
    assert text in result.error


def test_the_folder_of_another_run_or_another_frame_is_refused(mentorch, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "results.json").write_text("{}")
    assert "already holds a run" in mentorch("atlas", kept, "--name", "old").error
    assert mentorch("atlas", kept, "--count", "9", "--shard", "1/6").code == 0
    assert "another frame" in mentorch("atlas", kept, "--count", "10", "--name", f"atlas-{kept.name}").error
