import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from mentorch import UsageError, gates, methods, networks
from mentorch.cli import _graph, _presets
from mentorch.data import load

from .conftest import histories, numbers

BASE: dict[str, Any] = {
    "command": "graph",
    "epochs": 1,
    "train_size": 100,
    "batch_size": 50,
    "tensorboard": False,
    "results": False,
}
NODES = {"a": {"network": "cnn_tiny"}, "b": {"network": "cnn_tiny"}, "c": {"network": "cnn_small"}}


def written(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump({**BASE, **values}))
    return path


def drawn(preset: Any, *names: str) -> Any:
    compose = _presets.read(preset, _graph.loss, {}, load("digits"))
    return compose({name: networks.cnn_tiny(10, 1) for name in names})


def expected(method: Any, *names: str, **options: Any) -> list[str]:
    nodes: dict[str, nn.Module] = {name: networks.cnn_tiny(10, 1) for name in names}
    return [str(edge) for edge in method(nodes, **options).edges]


def test_every_method_that_draws_a_graph_of_named_networks_is_a_preset() -> None:
    functions = {name: thing for name, thing in vars(methods).items() if inspect.isfunction(thing)}
    first = {name: next(iter(inspect.signature(thing).parameters)) for name, thing in functions.items()}
    assert set(_presets.PRESETS) == {"distill", *(name for name, of in first.items() if of == "networks")}


@pytest.mark.parametrize(
    ("preset", "method", "options"),
    [
        ("independent", methods.independent, {}),
        ("mutual", methods.mutual, {}),
        ({"mutual": {"average": True, "labels": 0.5}}, methods.mutual, {"average": True, "labels": 0.5}),
        ({"full": {"gate": "linear_up"}}, methods.full, {"gate": gates.Linear(0.0, 1.0)}),
        ({"full": {"gate": {"between": {"start": 0.1, "end": 0.2}}}}, methods.full, {"gate": gates.Between(0.1, 0.2)}),
        ({"chain": {"gate": 0.5}}, methods.chain, {"gate": 0.5}),
        (
            {"from_matrix": {"gates": [["through", "correct"], ["cutoff", "cutoff"]]}},
            methods.from_matrix,
            {"gates": [[1.0, "correct"], [0.0, 0.0]]},
        ),
        (
            {"from_matrix": {"gates": [[1, {"linear": {"end": 2}}], [0, 0.5]]}},
            methods.from_matrix,
            {"gates": [[1.0, gates.Linear(0.0, 2)], [0.0, 0.5]]},
        ),
    ],
)
def test_a_preset_is_the_graph_of_its_method(preset: Any, method: Any, options: dict[str, Any]) -> None:
    names = ("a", "b") if method is methods.from_matrix else ("a", "b", "c")
    assert [str(edge) for edge in drawn(preset, *names).edges] == expected(method, *names, **options)


def test_its_loss_is_written_like_that_of_an_edge() -> None:
    edges = drawn({"mutual": {"loss": {"where_correct-dkd": {"beta": 2}}}}, "a", "b").edges
    assert edges[1].sources == ("b", "labels", "labels")
    assert repr(edges[1].loss) == "where_correct(partial(dkd, beta=2.0))"


def test_distillation_is_one_too() -> None:
    graph = drawn(
        {"distill": {"losses": [{"kd": {"temperature": 2}}, "crd", "vid"], "labels": 0.3}}, "student", "teacher"
    )
    assert graph.frozen == ("teacher",)
    assert graph.edges[0].gate == 0.3
    assert {"kd", "CRD", "VID"} <= {edge.name.rpartition(": ")[2] for edge in graph.edges}


@pytest.mark.parametrize(
    ("preset", "names", "complaint"),
    [
        ("mutal", "ab", "unknown preset 'mutal': did you mean 'mutual'"),
        ({"mutual": {}, "full": {}}, "ab", "a preset is written 'name' or"),
        ({"mutual": {"gate": 1}}, "ab", "unknown option of preset 'mutual' 'gate'"),
        ({"full": {"views": {}}}, "ab", "unknown option of preset 'full' 'views'"),
        ({"full": {"gate": "linear_upp"}}, "ab", "unknown gate 'linear_upp'"),
        ({"mutual": {"average": 1}}, "ab", "average of preset 'mutual' is true or false, got 1"),
        ({"mutual": {"loss": "kdd"}}, "ab", "unknown loss 'kdd'"),
        ({"mutual": {"loss": "pkt"}}, "ab", "pkt does not compare logits"),
        ("mutual", "a", "two networks or more"),
        ("from_matrix", "ab", "preset from_matrix needs its gates, a row for each node"),
        ({"from_matrix": {"gates": 1}}, "ab", "gates of preset 'from_matrix' are rows of gates, got 1"),
        ({"from_matrix": {"gates": [[1]]}}, "ab", "2 rows"),
        ({"from_matrix": {"gates": [["open"]]}}, "a", "unknown gate 'open'"),
        ("distill", "ab", "preset distill needs the nodes student and teacher, got a, b"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(preset: Any, names: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        drawn(preset, *names)
    assert complaint in str(error.value)


def test_a_run_with_a_preset_and_its_recipe_again(mentorch, tmp_path: Path) -> None:
    preset = {"mutual": {"average": True, "loss": {"kd": {"temperature": 2.0}}}}
    result = mentorch("run", written(tmp_path / "g.yaml", nodes=NODES, preset=preset, name="g", node="b"), "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["rows"]
    assert row["node"] == "b"
    assert len(row["graph"]["edges"]) == 9
    assert mentorch("run", "runs/g/recipe.yaml", "--name", "again").code == 0
    assert histories(Path("runs/g")) == histories(Path("runs/again"))
    assert numbers(Path("runs/g")) == numbers(Path("runs/again"))
    kept = yaml.safe_load(Path("runs/again/recipe.yaml").read_text())
    assert kept["preset"] == preset
    assert not kept.get("edges")


def test_who_only_teaches_by_a_preset_needs_weights(mentorch, tmp_path: Path, taught: Path) -> None:
    def run(last: dict[str, Any], **values: Any) -> Any:
        return mentorch("run", written(tmp_path / "g.yaml", nodes={**NODES, "c": last}, **values), "--dry-run")

    assert "node 'c' only teaches, and its weights are random" in run(NODES["c"], preset="chain").error
    assert run({"network": str(taught)}, preset="chain").code == 0
    assert run({**NODES["c"], "random": True}, preset="chain").code == 0
    result = run({"network": str(taught)}, preset="chain", node="c")
    assert result.code == 2
    assert "unknown learning node 'c'" in result.error
