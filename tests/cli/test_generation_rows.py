from pathlib import Path
from typing import Any

from mentorch._files import write_sealed
from mentorch.cli._generation_rows import with_generations


def row(method: str, seed: int, **more: Any) -> dict[str, Any]:
    found = {name: {"best": {"accuracy": 0.2}, "last": {"accuracy": 0.1}} for name in ("validation", "test")}
    return {"method": method, "seed": seed, "macs": 600, "trained_samples": 60, **found, **more}


def extra(method: str, samples: int) -> dict[str, Any]:
    return {"method": method, "trained_samples": samples, "generation": samples // 30, "slim": "slim" in method}


def test_generations_stand_before_what_came_of_them_and_cost_what_was_spent_until_then(tmp_path: Path) -> None:
    own = [extra("generation 1", 30), extra("generation 1 slim", 30), extra("evolve slim", 60)]
    for seed in (0, 1):
        write_sealed(tmp_path / f"fits/evolve/seed-{seed}/generations.json", {"rows": own})
    rows = [row("scratch", 0), row("scratch", 1), row("evolve", 0), row("evolve", 1)]
    found = with_generations(rows, tmp_path, "last")
    methods = ["scratch", "generation 1", "generation 1 slim", "evolve", "evolve slim"]
    assert [each["method"] for each in found] == [method for method in methods for _ in range(2)]
    assert [each["macs"] for each in found[::2]] == [600, 300, 300, 600, 600]
    assert found[6] == {**rows[2], "generation": 2, "slim": False}


def test_of_weights_that_went_on_from_the_best_epoch_nobody_knows_the_last(tmp_path: Path) -> None:
    write_sealed(tmp_path / "fits/evolve/seed-0/generations.json", {"rows": []})
    scratch, evolve = with_generations([row("scratch", 0), row("evolve", 0)], tmp_path, "best")
    assert set(scratch["test"]) == {"best", "last"}
    assert set(evolve["test"]) == set(evolve["validation"]) == {"best"}


def test_a_row_that_failed_stays_as_it_is(tmp_path: Path) -> None:
    failed = {"method": "evolve", "seed": 0, "error": "a loss became NaN"}
    assert with_generations([failed], tmp_path, "best") == [failed]
