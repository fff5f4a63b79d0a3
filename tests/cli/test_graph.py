import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mentorch import UsageError, gates, losses
from mentorch.cli import _graph, _training
from mentorch.cli._graph_recipe import EdgeRecipe

from .conftest import histories, numbers

BASE: dict[str, Any] = {
    "command": "graph",
    "epochs": 2,
    "train_size": 100,
    "batch_size": 50,
    "lr": 0.01,
    "tensorboard": False,
    "results": False,
}
MUTUAL = {
    "nodes": {"big": {"network": "cnn_small"}, "small": {"network": "cnn_tiny"}},
    "edges": [
        {"source": "labels", "target": "small", "loss": "cross_entropy"},
        {"source": "labels", "target": "big", "loss": {"cross_entropy": {"label_smoothing": 0.1}}},
        {"source": "big", "target": "small", "loss": {"kd": {"temperature": 2.0}}, "gate": {"linear": {"end": 0.5}}},
        {"source": "small", "target": "big", "loss": "kd", "gate": "linear", "name": "back"},
        {"source": "big.layer2", "target": "small.layer2", "loss": "hint", "gate": 0.01, "adapter": True},
    ],
    "node": "small",
}


def written(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump({**BASE, **values}))
    return path


def test_any_graph_is_trained_measured_and_kept(mentorch, tmp_path: Path) -> None:
    result = mentorch("run", written(tmp_path / "g.yaml", **MUTUAL, name="g", seeds=[0, 1]), "--json")
    assert result.code == 0, result.err
    results = json.loads(result.out)
    assert results["kind"] == "graph"
    assert [(row["method"], row["node"], row["seed"]) for row in results["rows"]] == [
        ("graph", "small", 0),
        ("graph", "small", 1),
    ]
    assert results["teacher"] is None
    assert results["student"]["network"] == "cnn_tiny"
    edges = results["rows"][0]["graph"]["edges"]
    assert [edge["name"] for edge in edges] == [
        "labels -> small: cross_entropy",
        "labels -> big: cross_entropy",
        "big -> small: kd",
        "back",
        "big.layer2 -> small.layer2: hint",
    ]
    assert edges[2]["gate"] == repr(gates.Linear(0.0, 0.5))
    record = json.loads((tmp_path / "runs/g" / results["rows"][0]["history"]).read_text().splitlines()[-1])
    assert set(record["validation"]) == {"big", "small"}
    assert sum(row["model"] is not None for row in results["rows"]) == 1


def test_its_recipe_gives_the_same_numbers_again(mentorch, tmp_path: Path) -> None:
    assert mentorch("run", written(tmp_path / "g.yaml", **MUTUAL, name="g")).code == 0
    assert mentorch("run", "runs/g/recipe.yaml", "--name", "again").code == 0
    assert numbers(tmp_path / "runs/again") == numbers(tmp_path / "runs/g")
    assert histories(tmp_path / "runs/again") == histories(tmp_path / "runs/g")
    first, second = (yaml.safe_load((tmp_path / "runs" / n / "recipe.yaml").read_text()) for n in ("g", "again"))
    assert first | {"name": "again"} == second


def test_a_frozen_node_teaches_with_its_weights_and_its_normalisation(mentorch, tmp_path: Path, taught: Path) -> None:
    nodes = {"teacher": {"network": str(taught), "frozen": True}, "student": {"network": "cnn_tiny"}}
    edges = [{"source": ["teacher", "labels"], "target": "student", "loss": {"dkd": {"beta": 2.0}}}]
    before = (taught / "model.safetensors").read_bytes()
    assert mentorch("run", written(tmp_path / "g.yaml", nodes=nodes, edges=edges, name="g")).code == 0
    (row,) = numbers(tmp_path / "runs/g")
    assert row["node"] == "student"
    roles = {node["name"]: node["role"] for node in row["graph"]["nodes"]}
    assert roles == {"teacher": "frozen", "student": "learning"}
    assert (taught / "model.safetensors").read_bytes() == before
    other = {**nodes, "teacher": {**nodes["teacher"], "mean": [0.9], "std": [3.0]}}
    assert mentorch("run", written(tmp_path / "o.yaml", nodes=other, edges=edges, name="o")).code == 0
    assert histories(tmp_path / "runs/o") != histories(tmp_path / "runs/g")


def test_options_of_a_node_reach_its_builder(mentorch, tmp_path: Path) -> None:
    nodes = {"a": {"network": "resnet8", "options": {"shortcut": "conv"}}}
    edges = [{"source": "labels", "target": "a", "loss": "cross_entropy"}]
    assert mentorch("run", written(tmp_path / "g.yaml", nodes=nodes, edges=edges, name="g", epochs=1)).code == 0
    card = json.loads((tmp_path / "runs/g/nodes/graph-seed-0/card.json").read_text())
    assert card["arguments"]["shortcut"] == "conv"
    assert mentorch("zoo", "describe", "runs/g/nodes/graph-seed-0").code == 0


def test_losses_with_weights_and_wrapped_ones_are_edges_of_a_file(mentorch, tmp_path: Path, taught: Path) -> None:
    nodes = {"teacher": {"network": str(taught), "frozen": True}, "student": {"network": "cnn_small"}}
    edges = [
        {"source": ["teacher", "labels"], "target": "student", "loss": {"where_correct-kd": {"temperature": 3}}},
        {"source": "teacher.layer2", "target": "student.layer2", "loss": {"vid": {"variance": 2.0}}},
    ]
    result = mentorch("run", written(tmp_path / "g.yaml", nodes=nodes, edges=edges, name="g"))
    assert result.code == 0, result.err
    lines = [line.split() for line in result.err.splitlines()]
    assert any("where_correct(kd)" in line for line in lines)
    assert ["teacher.layer2", "->", "student.layer2", "VID", "gate", "1"] in lines


FROZEN = {"teacher": {"network": "cnn_small", "frozen": True}, "a": {"network": "cnn_tiny"}}
TAUGHT = [{"source": "teacher", "target": "a", "loss": "kd"}]


def test_a_teacher_that_nobody_trained_must_be_meant(mentorch, tmp_path: Path, taught: Path) -> None:
    def run(**teacher: Any) -> Any:
        nodes = {**FROZEN, "teacher": {**FROZEN["teacher"], **teacher}}
        return mentorch("run", written(tmp_path / "g.yaml", nodes=nodes, edges=TAUGHT), "--dry-run")

    refused = run()
    assert refused.code == 2
    assert "node 'teacher' only teaches, and its weights are random: name a zoo folder" in refused.error
    assert run(random=True).code == 0
    assert run(network=str(taught)).code == 0
    assert run(weights=str(taught / "model.safetensors")).code == 0
    assert "random has no effect on node 'teacher': it has weights" in run(network=str(taught), random=True).error
    learning = {"a": {"network": "cnn_tiny", "random": True}}
    result = mentorch("run", written(tmp_path / "g.yaml", nodes=learning, edges=[edge()]))
    assert "random has no effect on node 'a': it learns" in result.error


def edge(**changes: Any) -> dict[str, Any]:
    return {"source": "labels", "target": "a", "loss": "cross_entropy", **changes}


A = {"a": {"network": "cnn_tiny"}}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"nodes": {"a": {"network": "cnn_tiny", "frozen": True}}, "edges": [edge()]}, "no learning node"),
        ({"nodes": A, "edges": [edge()], "node": "b"}, "unknown learning node 'b'"),
        ({"nodes": A, "edges": [edge(target="b")]}, "'b'"),
        ({"nodes": A, "edges": [edge(source="a.layer9")]}, "layer9"),
        ({"nodes": A, "edges": [edge(loss="kdd")]}, "unknown loss 'kdd': did you mean 'kd'"),
        ({"nodes": A, "edges": [edge(loss={"kd": {"temprature": 2}})]}, "unknown option of loss 'kd' 'temprature'"),
        ({"nodes": A, "edges": [edge(loss={"kd": {"student": 2}})]}, "unknown option of loss 'kd' 'student'"),
        ({"nodes": A, "edges": [edge(loss={"kd": {}, "pkt": {}})]}, "a loss is written"),
        ({"nodes": A, "edges": [edge(loss={"cross_entropy": {"label_smoothing": 7}})]}, "label_smoothing"),
        (
            {"nodes": A, "edges": [edge(loss={"cross_entropy": {"label_smoothing": "x"}})]},
            "label_smoothing is a number",
        ),
        ({"nodes": A, "edges": [edge(gate="liner")]}, "unknown gate 'liner': did you mean 'linear'"),
        ({"nodes": A, "edges": [edge(gate="between")]}, "gate 'between': "),
        ({"nodes": A, "edges": [edge(gate={"between": {"start": 0.9, "end": 0.1}})]}, "start must not lie after end"),
        ({"nodes": A, "edges": [edge(gate={"linear": {"from": 1}})]}, "field of gate 'linear' 'from'"),
        ({"nodes": A, "edges": [edge(gate={"linear": {"end": "high"}})]}, "gate "),
        (
            {"nodes": A, "edges": [edge(gate={"warmup": {"length": 0.1, "then": {"linar": {}}}})]},
            "unknown gate 'linar'",
        ),
        ({"nodes": A, "edges": [edge()], "preset": "independent"}, "a graph has edges or a preset"),
        ({"nodes": A, "edges": [edge(loss="crd")]}, "loss CRD: "),
        ({"nodes": A, "edges": [edge(loss="where_correct-pkt")]}, "where_correct goes around dkd, kd, not pkt"),
        ({"nodes": A, "edges": [edge(loss="corect-kd")]}, "unknown wrapper 'corect'"),
        ({"nodes": FROZEN, "edges": TAUGHT}, "only teaches, and its weights are random"),
        ({"nodes": {}, "edges": [edge()]}, "no learning node"),
        ({"nodes": A, "edges": [edge(), edge()]}, "labels -> a: cross_entropy"),
        ({"nodes": {"a": {"network": "cnn_tny"}}, "edges": [edge()]}, "unknown network 'cnn_tny': did you mean"),
        ({"nodes": {"a.b": {"network": "cnn_tiny"}}, "edges": [edge(target="a.b")]}, "a.b"),
        ({"nodes": {**A, "b": {"network": "cnn_tiny"}}, "edges": [edge()]}, "no edge points to 'b'"),
        ({"nodes": A, "edges": [edge(source="a.layer1", target="a.layer2", loss="hint")]}, "hint"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_before_anything_is_written(
    mentorch, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    result = mentorch("run", written(tmp_path / "g.yaml", **values))
    assert complaint in result.error
    assert result.code == 2
    assert not (tmp_path / "runs").exists()


def test_dry_run_shows_the_graph_and_trains_nothing(mentorch, tmp_path: Path) -> None:
    result = mentorch("run", written(tmp_path / "g.yaml", **MUTUAL), "--dry-run")
    assert result.code == 0
    assert "learns \\ from  big" in result.err
    assert "gate linear_up" in result.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (0.5, 0.5),
        ("linear", gates.Linear()),
        ({"cosine": {"start": 0.2}}, gates.Cosine(start=0.2)),
        ({"between": {"start": 0.1, "end": 0.2, "weight": 3}}, gates.Between(0.1, 0.2, 3)),
        ({"steps": {"at": [0.5], "factor": 0.2}}, gates.Steps((0.5,), 0.2)),
        ({"warmup": {"length": 0.5, "then": 2.0}}, gates.Warmup(0.5, 2.0)),
        ({"warmup": {"length": 0.5, "then": {"linear": {}}}}, gates.Warmup(0.5, gates.Linear())),
        ({"decay": {"rate": 2}}, gates.Decay(2)),
        ({"constant": {"weight": 0}}, gates.Constant(0)),
    ],
)
def test_gates_are_written_by_name(spec: Any, expected: Any) -> None:
    made = _graph._edge(EdgeRecipe(source="labels", target="a", loss="cross_entropy", gate=spec))()
    assert made.gate == expected


def test_every_loss_of_the_catalogue_has_a_name() -> None:
    for name, info in losses.catalogue().items():
        assert _graph.loss(name) is info.function


def test_adapters_are_made_anew_for_each_graph() -> None:
    make = _graph._edge(EdgeRecipe(source="b.x", target="a.x", loss="hint", adapter=True))
    assert isinstance(make().adapter, torch.nn.Module)
    assert make().adapter is not make().adapter
    with pytest.raises(UsageError, match="unknown loss"):
        _graph._edge(EdgeRecipe(source="b.x", target="a.x", loss="x"))


# nodes for themselves


@pytest.mark.parametrize("drawn", ["edges", "preset"])
def test_each_node_has_its_own_optimiser_schedule_and_place(mentorch, tmp_path: Path, monkeypatch, drawn: str) -> None:
    seen: dict[str, Any] = {}
    real = _training.fit

    def fit(graph: Any, *args: Any, **options: Any) -> Any:
        seen.update(graph=graph, **options)
        return real(graph, *args, **options)

    monkeypatch.setattr(_training, "fit", fit)
    own = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "lr_schedule": "cosine"}
    graph = {"preset": "mutual"} if drawn == "preset" else {"edges": MUTUAL["edges"]}
    nodes = {"big": {"network": "cnn_small", "training": own}, "small": {"network": "cnn_tiny", "device": "cpu"}}
    path = written(tmp_path / "g.yaml", **graph, nodes=nodes, node="small", betas=[0.5, 0.9], lr_patience=3)
    result = mentorch("run", path, "--name", "g")
    assert result.code == 0, result.err
    big, small = (seen["optimizer"][name]([torch.zeros(2)]) for name in ("big", "small"))
    assert (type(big), type(small)) == (torch.optim.SGD, torch.optim.Adam)
    assert (big.defaults["lr"], big.defaults["momentum"]) == (0.1, 0.9)
    assert (small.defaults["lr"], small.defaults["betas"]) == (0.01, (0.5, 0.9))
    assert seen["schedule"]["big"][0] == gates.Cosine(1.0, 0.0)
    assert seen["schedule"]["small"][0].patience == 3
    assert seen["graph"].devices == {"small": torch.device("cpu")}
    rates = histories(tmp_path / "runs/g").popitem()[1][-1]["lr"]
    assert set(rates) == {"big", "small"}
    assert mentorch("run", tmp_path / "runs/g/recipe.yaml").code == 0


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"training": {"momentum": 0.9}}, "training of node 'big': momentum has no effect with optimizer adam"),
        ({"device": "nowhere"}, "node 'big' cannot live on device 'nowhere'"),
    ],
)
def test_what_a_node_cannot_have_is_refused(mentorch, tmp_path: Path, node: dict[str, Any], complaint: str) -> None:
    nodes = {**MUTUAL["nodes"], "big": {"network": "cnn_small", **node}}
    result = mentorch("run", written(tmp_path / "g.yaml", **{**MUTUAL, "nodes": nodes}))
    assert result.code == 2
    assert complaint in result.error
    assert not (tmp_path / "runs").exists()


def test_training_of_a_node_that_a_preset_freezes_is_refused(mentorch, tmp_path: Path) -> None:
    gate = {"from_matrix": {"gates": [["through", "through"], ["cutoff", "cutoff"]]}}
    nodes = {"a": {"network": "cnn_tiny"}, "b": {"network": "cnn_tiny", "random": True, "training": {"lr": 1}}}
    result = mentorch("run", written(tmp_path / "g.yaml", nodes=nodes, preset=gate))
    assert "training has no effect on node 'b': no edge points to it" in result.error
