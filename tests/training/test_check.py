"""What is refused before anything is trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch import Edge, Graph, UsageError, fit, gates
from mentorch.training import Training
from mentorch.training._check import check_alive
from mentorch.training._history import History
from mentorch.training._optimizers import Steering

SGD = partial(torch.optim.SGD, lr=0.1)


def graph(*of_b: Any) -> Graph:
    edges = [Edge("labels", "b", F.cross_entropy, gate, name=f"b{i}") for i, gate in enumerate(of_b)]
    return Graph({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, [Edge("labels", "a", F.cross_entropy), *edges])


@pytest.mark.parametrize(
    ("of_b", "epoch"),
    [
        ([0.0], 1),
        ([gates.Between(0.0, 0.4)], 3),
        ([gates.Between(0.6, 1.0)], 1),
        ([gates.Between(0.0, 0.2), gates.Between(0.8, 1.0)], 2),
        ([gates.PerEpoch(4, gates.Linear(0.0, 1.0))], 1),
        ([gates.PerEpoch(4, gates.Linear(1.0, 0.0))], 4),
    ],
)
def test_a_node_that_would_learn_nothing_for_an_epoch(of_b: list[Any], epoch: int, data: Callable[..., Any]) -> None:
    made = graph(*of_b)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(UsageError, match=f"node 'b' learns nothing in epoch {epoch} of 4"):
        fit(made, data(5), optimizer=SGD, epochs=4, progress=False)
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 5), st.integers(1, 7), st.integers(1, 3))
def test_it_is_told_exactly_by_every_step(start: float, end: float, epochs: int, batches: int, every: int) -> None:
    gate = gates.Between(min(start, end), max(start, end))
    made = graph(gate)
    training = Training(made, Steering(made, SGD, None), History(), epochs, batches, every)
    steps = range(training.steps)
    per_epoch = training.updates_per_epoch
    dead = {s // per_epoch for s in steps} - {s // per_epoch for s in steps if gate(gates.progress_at(s, len(steps)))}
    if dead:
        with pytest.raises(UsageError, match=f"in epoch {min(dead) + 1} of"):
            check_alive(training)
    else:
        check_alive(training)


def test_alternating_updates_need_an_optimiser_each(data: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="an optimiser for each node: a, b"):
        fit(graph(1.0), data(2), optimizer=SGD, epochs=1, update="alternating")
    each = {"a": SGD, "b": SGD}
    with pytest.raises(UsageError, match="exclude accumulate"):
        fit(graph(1.0), data(2), optimizer=each, epochs=1, update="alternating", accumulate=2)
    with pytest.raises(UsageError, match="'simultaneous' or 'alternating', got 'other'"):
        fit(graph(1.0), data(2), optimizer=each, epochs=1, update="other")  # type: ignore[arg-type]


def test_diagnose_counts_epochs_from_one(data: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="diagnose must be at least 1, got 0"):
        fit(graph(1.0), data(2), optimizer=SGD, epochs=1, diagnose=0)
