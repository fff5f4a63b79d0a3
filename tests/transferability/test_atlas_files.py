"""The map, written and read again by other programs."""

import importlib.util
import json
from pathlib import Path

import networkx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Atlas, atlas, write_atlas


@pytest.fixture(scope="module")
def written(keep, images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Atlas, Path]:
    root, out = tmp_path_factory.mktemp("zoo"), tmp_path_factory.mktemp("out")
    for i in range(6):
        keep(root, f"n{i} <&>", "cnn_small" if i % 2 else "cnn_tiny", seed=i, dataset='"a"' if i % 2 else None)
    (root / "torn").mkdir()
    (root / "torn" / "card.json").write_text("{")
    made = atlas(root, images, store=out / "embeddings")
    write_atlas(made, out, k=2, weight=0.25, made={"probes": ["random"]})
    return made, out


def test_json_has_networks_links_groups_and_failures(written: tuple[Atlas, Path]):
    made, out = written
    record = json.loads((out / "atlas.json").read_text())
    assert (record["schema"], record["k"], record["weight"]) == ("mentorch.atlas/1", 2, 0.25)
    assert record["made"] == {"probes": ["random"]}
    assert record["frame"]["count"] == 12
    names = [network["name"] for network in record["networks"]]
    assert names == [entry.name for entry in made.entries]
    assert [network["community"] for network in record["networks"]] == made.communities(k=2, weight=0.25)
    assert len(record["links"]) == 12
    for name in names:
        own = [link for link in record["links"] if names[link["source"]] == name]
        expected = made.nearest(name, k=2, weight=0.25)
        assert {names[link["target"]]: link["similarity"] for link in own} == pytest.approx(expected, abs=1e-5)
    assert [len(row) for row in record["tree"]["merges"]] == [4] * 5
    assert sorted(record["tree"]["order"]) == list(range(6))
    assert record["failures"][0]["name"] == "torn"


def test_graphml_is_the_same_graph(written: tuple[Atlas, Path]):
    record = json.loads((written[1] / "atlas.json").read_text())
    graph = networkx.read_graphml(written[1] / "atlas.graphml", node_type=int)
    assert isinstance(graph, networkx.DiGraph)
    assert {(a, b): round(d["similarity"], 5) for a, b, d in graph.edges(data=True)} == {
        (link["source"], link["target"]): link["similarity"] for link in record["links"]
    }
    assert [graph.nodes[i]["name"] for i in range(6)] == [network["name"] for network in record["networks"]]
    assert graph.graph["k"] == 2


def test_tensors_answer_at_every_weight(written: tuple[Atlas, Path]):
    made, out = written
    tensors = load_file(out / "map.safetensors")
    assert tensors["index"].dtype == torch.int32
    assert torch.equal(tensors["index"].long(), made.near.index)
    assert torch.equal(tensors["edges"], made.near.edges)
    assert tensors["layout"].shape == (5, 6, 2)
    assert tensors["shares"].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_parquet_has_the_same_rows(written: tuple[Atlas, Path], tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    write_atlas(written[0], tmp_path, k=2, parquet=True)
    record = json.loads((tmp_path / "atlas.json").read_text())
    assert parquet.read_table(tmp_path / "links.parquet").to_pylist() == record["links"]
    networks = parquet.read_table(tmp_path / "networks.parquet").to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in networks] == record["networks"]


def test_parquet_without_pyarrow_is_refused_before_anything_is_written(
    written: tuple[Atlas, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    with pytest.raises(UsageError, match=r"pip install 'mentorch\[parquet\]'"):
        write_atlas(written[0], tmp_path / "out", parquet=True)
    assert not (tmp_path / "out").exists()
