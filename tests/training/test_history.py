"""The history: columns by dotted name, and a table that reads back."""

import csv
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from mentorch import History, fit

RECORDS: list[dict[str, Any]] = [
    {"epoch": 1, "train": {"loss": 0.5, "edges": {"a -> b: kd": 0.25}}, "lr": {"all": 1e-3}},
    {"epoch": 2, "train": {"loss": 0.25, "edges": {}}, "validation": {"b": {"accuracy": 0.75}}, "lr": {"all": 1e-4}},
]


def test_columns() -> None:
    history = History(RECORDS)
    assert history.column("epoch") == [1, 2]
    assert history.column("train.edges.a -> b: kd") == [0.25, None]
    assert history.column("validation.b.accuracy") == [None, 0.75]
    assert history.column("nothing") == [None, None]


def test_csv_holds_every_number_exactly() -> None:
    rows = list(csv.DictReader(io.StringIO(History(RECORDS).to_csv())))
    assert [float(row["lr.all"]) for row in rows] == [1e-3, 1e-4]
    assert [row["validation.b.accuracy"] for row in rows] == ["", "0.75"]
    assert [row["train.edges.a -> b: kd"] for row in rows] == ["0.25", ""]


def test_csv_of_nothing_and_of_awkward_names() -> None:
    assert History().to_csv() == "\n"
    history = History([{"epoch": 1, "train": {'a, "b" -> c': 2.0}}])
    assert next(csv.DictReader(io.StringIO(history.to_csv())))['train.a, "b" -> c'] == "2.0"


def test_two_histories_share_nothing() -> None:
    History().records.append({})
    assert History().records == []


def test_what_a_run_records(linear: Callable[..., Any], data: Callable[..., Any]) -> None:
    graph, train = linear(weight=0.0), data(3, size=5)
    history = fit(graph, train, optimizer=partial(torch.optim.SGD, lr=0.5), epochs=2, validation=train)
    assert [sorted(record) for record in history.records] == [
        ["epoch", "lr", "progress", "seconds", "step", "train", "validation"]
    ] * 2
    assert history.column("epoch") == [1, 2]
    assert history.column("step") == [3, 6]
    assert history.column("progress") == [0.5, 1.0]
    assert history.column("lr.all") == [0.5, 0.5]
    assert history.samples == 30
    seconds = history.column("seconds")
    assert 0 < seconds[0] <= seconds[1]
    for record in history.records:  # a closed edge has no loss
        assert list(record["train"]["edges"]) == ["labels -> student: cross_entropy"]
        assert record["train"]["loss"] == pytest.approx(sum(record["train"]["edges"].values()))


def test_the_loss_of_an_epoch_is_the_mean_over_samples(linear: Callable[..., Any], data: Callable[..., Any]) -> None:
    graph, train = linear(), [*data(2, size=6), *data(1, size=1, seed=3)]
    with torch.no_grad():
        losses = [{name: loss.item() for name, loss in graph(*batch).items()} for batch in train]
    history = fit(graph, train, optimizer=partial(torch.optim.SGD, lr=0.0), epochs=1)
    for name in losses[0]:
        mean = (6 * losses[0][name] + 6 * losses[1][name] + losses[2][name]) / 13
        assert history.records[0]["train"]["edges"][name] == pytest.approx(mean, rel=1e-6)
