from pathlib import Path

import pytest

from mentorch import UsageError
from mentorch.methods import to_matrix
from mentorch.networks import state_hash
from mentorch.search import Candidate, Space, contestants, finals
from mentorch.search._problem import made

CUT, ON = "cutoff", "through"
BEST = Candidate(("wide",), ((ON, "correct"), (CUT, CUT)))
SPACE = Space(("narrow", "wide"), 2)


def test_the_best_graph_stands_beside_its_baselines_at_equal_budget(toy, run: Path) -> None:
    problem = toy(epochs=6)
    results = finals(problem, run, [BEST], space=SPACE, seeds=(1, 2), knn=0)
    name = f"searched-{BEST.digest[:6]}"
    assert results["kind"] == "search"
    assert results["select"] == "last"
    assert {row["method"] for row in results["rows"]} == {"independent", "mutual", "kd", name}
    assert all("error" not in row for row in results["rows"])
    assert {(row["epochs"], row["trained_samples"], row["parameters"]) for row in results["rows"]} == {(6, 180, 43)}
    assert {row["seed"] for row in results["rows"]} == {1, 2}
    entry = next(e for e in results["summary"] if (e["method"], e["metric"], e["which"]) == (name, "accuracy", "last"))
    assert entry["n"] == 2
    assert entry["low"] <= entry["mean"] <= entry["high"]
    again = finals(problem, run, [BEST], space=SPACE, seeds=(1, 2), knn=0, resume=True)
    assert again["summary"] == results["summary"]


def test_frozen_partners_are_trained_per_seed(toy, run: Path) -> None:
    finals(toy(), run, [BEST], space=SPACE, seeds=(1, 2), knn=0)
    assert {path.name for path in (run / "partners").iterdir()} >= {"wide-seed-0", "wide-seed-1", "wide-seed-2"}


def test_contestants_start_from_the_target_they_are_given(toy, run: Path) -> None:
    problem = toy(epochs=6)
    methods = contestants(problem, run, [BEST], space=SPACE)
    drawn = {name: method.draw(made(problem.target, 3)) for name, method in methods.items()}
    for name, graph in drawn.items():
        assert state_hash(graph.nodes[methods[name].node]) == state_hash(made(problem.target, 3))
    assert drawn["independent"].frozen == ()
    assert len(drawn["mutual"].edges) == 4
    assert drawn["kd"].frozen == ("teacher",)
    assert to_matrix(drawn[f"searched-{BEST.digest[:6]}"]).splitlines()[1].split() == ["target", "1", "correct"]


def test_without_a_graph_there_are_no_finals(toy, run: Path) -> None:
    with pytest.raises(UsageError, match="finals need a graph at least"):
        finals(toy(), run, [])
