import json
from pathlib import Path
from typing import Any

from mentorch import RunError
from mentorch.cli import _branch

from .conftest import BRANCH, STUDENTS, TASKS


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def timeless(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "peak_memory")}
        for row in results(run)["rows"]
    ]


def test_teachers_baselines_and_students_of_one_budget(branched: Path) -> None:
    found = results(branched)
    assert (found["kind"], found["tasks"]) == ("branch", list(TASKS))
    assert [(row["method"], row["seed"]) for row in found["rows"]] == [(m, 0) for m in STUDENTS]
    rows = {(row["method"], row["seed"]): row for row in found["rows"]}
    for row in rows.values():
        assert (row["epochs"], row["trained_samples"]) == (6, 6 * 24)
        assert {name.split()[0] for name in row["test"]["last"]} == set(TASKS)
        assert {name.split()[0] for name in row["validation"]["last"]} == set(TASKS)
    # a step of kd is a forward pass of all teachers and three of the student; from labels, only these
    forward = sum(teacher["macs"] for teacher in found["dense_teachers"].values())
    assert rows["kd", 0]["macs"] == 6 * 24 * (forward + 3 * rows["kd", 0]["inference_macs"])
    assert rows["labels", 0]["macs"] == 6 * 24 * 3 * rows["labels", 0]["inference_macs"]
    assert 6 * 24 * forward < rows["branch", 0]["macs"] < 6 * 24 * 4 * forward
    own = rows["branch", 0]
    assert rows["kd_branched", 0]["branches"] == own["branches"]
    assert {task: depth for task, (depth, _) in own["branches"].items()} == own["depths"]
    for task, depth in own["depths"].items():
        held = own["held_out"][task]
        assert held[str(depth)] == min(held.values())
    assert rows["labels", 0]["branches"] == {"segmentation": [4, 7], "depth": [4, 1], "normals": [4, 3]}
    assert {row["method"] for row in found["summary"]} == set(STUDENTS)


def test_killed_between_and_within_stages_it_ends_with_the_same_numbers(mentorch, monkeypatch) -> None:
    words = (
        "branch",
        "--tasks",
        "depth",
        *BRANCH,
        "--methods",
        "random_path",
        "branch",
        "--seeds",
        "0",
        "--no-results",
    )
    assert mentorch(*words, "--name", "whole").code == 0
    fit, calls = _branch._training.fit, 0

    def failing(graph, train, **options):
        nonlocal calls
        calls += 1
        if calls in (3, 7):  # the last stage of a student; the second of the other
            raise KeyboardInterrupt
        return fit(graph, train, **options)

    monkeypatch.setattr(_branch._training, "fit", failing)
    killed = mentorch(*words, "--name", "killed")
    assert killed.code == 130
    assert "mentorch run runs/killed/recipe.yaml --resume" in killed.err
    assert mentorch("run", "runs/killed/recipe.yaml", "--resume").code == 130
    assert mentorch("run", "runs/killed/recipe.yaml", "--resume").code == 0
    assert timeless(Path("runs/killed")) == timeless(Path("runs/whole"))


def test_a_dry_run_says_what_would_happen(mentorch) -> None:
    result = mentorch("branch", *BRANCH, "--dry-run")
    assert result.code == 0
    for words in (
        "24 training, 2 validation, 6 test images, 16x24",
        "depth -> student:depth: depth_l1",
        "5 depths of 1",
    ):
        assert words in result.err + result.out
    assert not Path("runs").exists()


def test_a_method_that_needs_a_failed_search_fails_with_it(mentorch, monkeypatch) -> None:
    def diverging(*_, **__):
        raise RunError("the loss became NaN")

    monkeypatch.setattr(_branch, "branch", diverging)
    result = mentorch("branch", "--tasks", "depth", *BRANCH, "--methods", "branch", "kd_branched", "--no-results")
    assert result.code == 1
    assert "2 of 2 runs failed, the first is branch seed 0: the loss became NaN" in result.error
    (_, other) = results(Path("runs/branch-scenes"))["rows"]
    assert other["error"] == "branch found no network for seed 0: the loss became NaN"
