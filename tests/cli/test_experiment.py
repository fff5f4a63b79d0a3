import json
from pathlib import Path
from typing import Any

import pytest

from mentorch.cli._experiment import _keep_best

from .conftest import QUICK, call


def finished(folder: Path, scores: list[float | None], select: str = "best") -> dict[str, Any]:
    """Results with a model for each score, and a failed row for each None."""
    rows = []
    for seed, score in enumerate(scores):
        row: dict[str, Any] = {"method": "kd", "seed": seed}
        if score is None:
            rows.append(row | {"error": "diverged"})
            continue
        other = {"best": "last", "last": "best"}[select]
        model = f"nodes/kd-seed-{seed}"
        (folder / model).mkdir(parents=True)
        rows.append(row | {"model": model, "validation": {select: {"accuracy": score}, other: {"accuracy": 1 - score}}})
    return {"select": select, "rows": rows}


@pytest.mark.parametrize("select", ["best", "last"])
@pytest.mark.parametrize(
    ("scores", "kept"), [([0.1, 0.9, 0.5], [1]), ([0.5, 0.5], [0]), ([None, 0.2], [1]), ([None], []), ([], [])]
)
def test_one_student_is_kept_and_the_file_says_which(
    tmp_path: Path, scores: list[float | None], kept: list[int], select: str
) -> None:
    results = finished(tmp_path, scores, select)
    _keep_best(tmp_path, results)
    assert [row["seed"] for row in results["rows"] if row.get("model")] == kept
    assert sorted(path.name for path in tmp_path.glob("nodes/*")) == [f"kd-seed-{seed}" for seed in kept]
    assert json.loads((tmp_path / "results.json").read_text()) == results
    _keep_best(tmp_path, results)  # also when it is asked again
    assert sorted(path.name for path in tmp_path.glob("nodes/*")) == [f"kd-seed-{seed}" for seed in kept]


@pytest.mark.parametrize(("command", "kind"), [("compare", "compare"), ("train", "train")])
def test_the_kind_of_the_results_is_the_command(mentorch, command: str, kind: str) -> None:
    words = ("--methods", "scratch") if command == "compare" else ()
    result = call(command, *QUICK, *words, "--json", "--quiet")
    assert json.loads(result.out)["kind"] == kind


def test_the_report_is_left_out_only_if_asked(mentorch) -> None:
    assert call("train", *QUICK, "--results", "--name", "a").code == 0
    assert call("train", *QUICK, "--name", "b").code == 0
    for name in ("report.html", "summary.md", "results.csv"):
        assert Path("runs/a", name).exists()
        assert not Path("runs/b", name).exists()
    for name in ("results.json", "recipe.yaml", "environment.json"):
        assert Path("runs/b", name).exists()
