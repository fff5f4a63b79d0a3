import json
from pathlib import Path

import pytest
import torch

from mentorch import UsageError, networks
from mentorch.cli._turns import joined, known, seen, taught
from mentorch.comparison import Teacher
from mentorch.data import Normalize, load
from mentorch.training import History


def part(epochs: int, best: int | None, seconds: float) -> History:
    records = [
        {"epoch": e, "step": 3 * e, "progress": e / epochs, "seconds": seconds * e / epochs, "train": {"loss": 1 / e}}
        for e in range(1, epochs + 1)
    ]
    weights = {"student": {"w": torch.full((1,), seconds)}}
    return History(records, best, 0.5, "student", weights, samples=100 * epochs)


def test_trainings_that_follow_each_other_read_as_one(tmp_path: Path) -> None:
    whole = joined([part(2, 1, 4.0), part(3, 2, 6.0)], tmp_path, "generation")
    assert [record["epoch"] for record in whole.records] == [1, 2, 3, 4, 5]
    assert [record["step"] for record in whole.records] == [3, 6, 9, 12, 15]
    assert [record["generation"] for record in whole.records] == [1, 1, 2, 2, 2]
    assert [record["seconds"] for record in whole.records] == pytest.approx([2, 4, 6, 8, 10])
    assert [record["progress"] for record in whole.records] == pytest.approx([0.25, 0.5, 4 / 6, 5 / 6, 1])
    assert (whole.best_epoch, whole.best_value, whole.best_node, whole.samples) == (4, 0.5, "student", 500)
    assert whole.best_weights["student"]["w"].item() == 6
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == whole.records
    assert (tmp_path / "history.csv").read_text() == whole.to_csv()


def test_one_training_stays_as_it_is(tmp_path: Path) -> None:
    alone = part(2, None, 1.0)
    whole = joined([alone], tmp_path, "step of pruning")
    assert [{key: record[key] for key in alone.records[0]} for record in whole.records] == alone.records
    assert whole.best_epoch is None


def test_images_as_a_network_sees_them() -> None:
    images = torch.ones(1, 1, 2, 2)
    assert seen(None, images) is images
    assert seen(Normalize((0.5,), (0.25,)), images).unique().tolist() == [2]


def test_weights_that_were_not_measured_are_not_told() -> None:
    row = {
        "method": "kd",
        **{name: {"best": {"accuracy": 1.0}, "last": {"accuracy": 1.0}} for name in ("validation", "test")},
    }
    assert known(row, "last") is row
    told = known(row, "best")
    assert (set(told["validation"]), set(told["test"]), told["method"]) == ({"best"}, {"best"}, "kd")


def test_two_views_of_a_sample_are_shown_elsewhere() -> None:
    with pytest.raises(UsageError, match="mlkd reads two views of each sample: mentorch distill and compare show them"):
        taught("mlkd", Teacher(networks.cnn_tiny(10, 1)), None, load("digits"))
