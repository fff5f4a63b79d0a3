from typing import Any

import pytest

from mentorch.reports import sentence, table
from mentorch.reports._dense_table import branch_points, dense_table
from mentorch.reports._format import MISSING

SIZES = {"parameters": 200_000, "macs": 1_500_000}


def row(method: str, seed: int, miou: float, rmse: float, **more: Any) -> dict[str, Any]:
    test = {"segmentation miou": miou, "segmentation pixel_accuracy": 0.5, "depth rmse": rmse, "depth abs_rel": 0.25}
    size = {"parameters": 250_000, "inference_macs": 2_000_000}
    return {"method": method, "seed": seed, "test": {"last": test}, **size, **more}


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    teachers = {
        "segmentation": {
            "network": "segnet",
            **SIZES,
            "test": {"segmentation miou": 0.4, "segmentation pixel_accuracy": 0.8},
        },
        "depth": {"network": "segnet", **SIZES, "test": {"depth rmse": 0.75, "depth abs_rel": 0.2}},
    }
    return {"dense_teachers": teachers, "select": "last", "rows": list(rows)}


def test_teachers_on_their_own_task_then_their_sum_then_students_on_all():
    found = dense_table(results(*(row("labels", s, m, r) for s, m, r in ((0, 0.3, 1.0), (1, 0.4, 1.2)))))
    assert [r["method"] for r in found] == [
        "segmentation teacher (segnet)",
        "depth teacher (segnet)",
        "all teachers",
        "labels",
    ]
    assert found[0] == {
        "method": "segmentation teacher (segnet)", "parameters": "200 k", "multiply-adds": "1.5 M",
        "mIoU %": "40.0", "pixel accuracy %": "80.0", "RMSE m": MISSING, "abs rel": MISSING,
    }  # fmt: skip
    assert (found[2]["parameters"], found[2]["multiply-adds"], found[2]["mIoU %"]) == ("400 k", "3 M", MISSING)
    # t(0.975, 1) = 12.706; s / sqrt 2 = 0.05 and 0.1
    assert found[3]["mIoU %"] == "35.0 ± 63.5"
    assert found[3]["RMSE m"] == "1.100 ± 1.271"
    assert found[3]["parameters"] == "250 k"
    assert table(results(row("labels", 0, 0.3, 1.0))) == dense_table(results(row("labels", 0, 0.3, 1.0)))
    assert dense_table({"rows": []}) == []


def test_failures_are_told():
    (*_, last) = dense_table(results(row("kd", 0, 0.3, 1.0), {"method": "kd", "seed": 1, "error": "NaN"}))
    assert last["method"] == "kd (1 of 2 failed)"


def test_the_sentence_knows_which_way_is_better_for_each_task():
    labels = [row("labels", seed, 0.30 + seed / 100, 1.0 + seed / 10) for seed in range(3)]
    branch = [row("branch", seed, 0.35 + seed / 100, 1.5 + seed / 10) for seed in range(3)]
    noisy = [row("kd", seed, 0.30 + (seed - 1) ** 2 / 10, 1.0 + seed / 10 * (-1) ** seed) for seed in range(3)]
    told = sentence(results(*labels, *branch, *noisy))
    assert told == (
        "Against the student from labels, paired by seed: segmentation (mIoU %): better: branch by 5.0. "
        "depth (RMSE m): worse: branch by 0.500."
    )
    assert "no difference beyond the noise" in sentence(results(*labels, *noisy))
    assert sentence(results(*branch)) == "There is no student from labels to compare with."
    assert sentence(results(*labels)) == "Only labels were learned from."


def test_one_seed_is_no_evidence():
    told = sentence(results(row("labels", 0, 0.1, 2.0), row("kd", 0, 0.9, 1.0)))
    assert told == "Without several seeds no difference to the student from labels can be told from noise."


def test_branch_points_mark_the_chosen_depth():
    held = {"segmentation": {"0": 1.5, "1": 1.25}, "depth": {"0": 0.5}}
    found = branch_points(results(row("branch", 2, 0.3, 1.0, held_out=held, depths={"segmentation": 1, "depth": 0})))
    assert found == [
        {"who": "branch, seed 2", "task": "segmentation", "depth 0": "1.5", "depth 1": "1.25 *"},
        {"who": "branch, seed 2", "task": "depth", "depth 0": "0.5 *", "depth 1": MISSING},
    ]
    assert branch_points(results(row("kd", 0, 0.3, 1.0))) == []


@pytest.mark.parametrize("held", ["nonsense", {"depth": {"0": "x"}}, {}])
def test_damaged_results_do_not_stop_a_report(held):
    branch_points(results(row("branch", 0, 0.3, 1.0, held_out=held)))
