import json
from pathlib import Path
from typing import Any

from .conftest import BRANCH, TASKS


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def test_teachers_from_cards_are_taken_as_they_are(mentorch, branched: Path) -> None:
    kept = [f"{task}={branched / 'nodes' / task}" for task in TASKS]
    words = ("branch", *BRANCH, "--methods", "kd", "--no-results", "--name", "given", "--teachers", *kept)
    result = mentorch(*words)
    assert result.code == 0, result.err
    assert "training" not in result.out.split("everybody else")[-1].replace("training images", "")
    mine, theirs = (
        {t: v["test"] for t, v in results_of(run)["dense_teachers"].items()} for run in (Path("runs/given"), branched)
    )
    assert mine == theirs
    wrong = mentorch("branch", *BRANCH, "--teachers", f"depth={branched / 'nodes' / 'normals'}")
    assert wrong.code == 2
    assert "is for normals with 3 outputs, not for depth with 1" in wrong.error
