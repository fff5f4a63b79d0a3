"""The state of a run: directions of metrics, counters, and everything a checkpoint needs."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch import Edge, Graph, History, Monitor, UsageError, freeze
from mentorch.training import Training
from mentorch.training._checkpoint import pack
from mentorch.training._optimizers import Steering


def training(**options: Any) -> Training:
    graph = Graph(
        {"t": freeze(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))), "a": nn.Linear(4, 3)},
        [Edge("t", "a", F.mse_loss)],
    )
    steering = Steering(graph, partial(torch.optim.Adam, lr=0.1), None)
    return Training(graph, steering, History(), **{"epochs": 3, "steps_per_epoch": 5, "accumulate": 1, **options})


def test_directions_of_metrics() -> None:
    assert Monitor().score(0.5) == 0.5
    assert Monitor("cross_entropy").score(0.5) == -0.5
    assert Monitor("loss").higher is False
    assert Monitor("top5").higher is True
    assert Monitor("iou", higher=True).score(2.0) == 2.0
    assert Monitor("accuracy", higher=False).score(2.0) == -2.0
    with pytest.raises(UsageError, match="is more 'iou' better"):
        Monitor("iou")


@given(epochs=st.integers(1, 5), batches=st.integers(1, 7), accumulate=st.integers(1, 8))
def test_counting_of_steps(epochs: int, batches: int, accumulate: int) -> None:
    state = training(epochs=epochs, steps_per_epoch=batches, accumulate=accumulate)
    assert state.updates_per_epoch == len(range(0, batches, accumulate))
    assert state.steps == epochs * state.updates_per_epoch
    assert state.progress == 0.0
    state.step = state.steps - 1
    assert state.progress == (1.0 if state.steps > 1 else 0.0)


def test_stop_gives_its_reason() -> None:
    state = training()
    state.stop()
    assert state.history.stopped == "a callback asked"
    state.stop("late")
    assert state.history.stopped == "late"


def test_what_is_kept_is_the_average_if_there_is_one() -> None:
    state = training()
    assert state.kept("a") is state.graph.nodes["a"]
    state.averages["a"] = nn.Linear(4, 3)
    assert state.kept("a") is state.averages["a"]


def test_the_state_holds_nothing_of_frozen_nodes() -> None:
    tensors: dict[str, torch.Tensor] = {}
    pack(training().state(None), tensors)
    assert sorted(name.lstrip("0123456789") for name in tensors if "/nodes/" in name) == [
        "/nodes/a/bias",
        "/nodes/a/weight",
    ]
    assert not any("/t/" in name or "running" in name for name in tensors)


def test_a_state_loads_into_a_fresh_run() -> None:
    one, other = training(), training()
    one.epoch, one.batch, one.step, one.samples, one.bad_epochs, one.fired = 2, 3, 8, 21, 1, [0]
    one.sums.add(("edge",), torch.tensor([1.5]))
    one.history.records.append({"epoch": 1})
    other.load(one.state(None), None)
    for name in ("epoch", "batch", "step", "samples", "bad_epochs", "fired", "sums", "history"):
        assert getattr(other, name) == getattr(one, name)
    assert torch.equal(other.graph.nodes["a"].weight, one.graph.nodes["a"].weight)
