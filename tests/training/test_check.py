"""What is refused before anything is trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, fit, gates
from mentorch.training import On, Training
from mentorch.training._check import check_alive, try_metrics
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


def test_an_edge_that_is_always_open_is_known_without_a_look_at_each_epoch() -> None:
    made = graph(0.5)
    check_alive(Training(made, Steering(made, SGD, None), History(), 10**12, 100, 1))


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


class Named(nn.Module):
    """Its output is a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.fc(x)}


def scalar(output: Any, labels: Any) -> Tensor:
    return torch.tensor(1.0)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "a mapping of outputs": ({}, "accuracy: needs logits as a tensor, got dict: pass metrics= that pick one"),
    "one value": ({"metrics": {"accuracy": scalar}}, r"metric 'accuracy' must return one value per sample, got \[\]"),
    "a number": ({"metrics": {"accuracy": lambda o, y: 0.5}}, r"metric 'accuracy' must return one value .*, got 0\.5"),
    "no labels": ({"validation": [torch.zeros(2, 4)]}, "evaluation needs labels, the data has none"),
    "nothing": ({"validation": []}, "evaluation on empty data"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_metrics_that_cannot_work_are_refused_before_training(what: str, data: Callable[..., Any]) -> None:
    options, message = UNFIT[what]
    made = Graph({"s": Named()}, [Edge("labels", "s:logits", F.cross_entropy)])
    before = {name: value.clone() for name, value in made.state_dict().items()}
    steps: list[int] = []
    noted = On("step", lambda training: steps.append(training.step))
    with pytest.raises(UsageError, match=f"^{message}$"):
        fit(made, data(2), optimizer=SGD, epochs=1, **{"validation": data(1), "callbacks": [noted], **options})
    assert steps == []
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_trying_metrics_draws_nothing_and_changes_no_mode(data: Callable[..., Any]) -> None:
    made = Graph({"s": Named()}, [Edge("labels", "s:logits", F.cross_entropy)])
    made.nodes["s"].fc[1].eval()
    own = torch.Generator().manual_seed(1)
    rows = [(x, y) for xs, ys in data(2) for x, y in zip(xs, ys, strict=True)]
    loader = torch.utils.data.DataLoader(rows, batch_size=4, shuffle=True, generator=own)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    modes, drawn = [m.training for m in made.modules()], [own.get_state(), torch.get_rng_state()]
    try_metrics(made, loader, {"draws": lambda output, labels: torch.rand(len(labels))})
    assert all(map(torch.equal, drawn, [own.get_state(), torch.get_rng_state()]))
    assert [m.training for m in made.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
