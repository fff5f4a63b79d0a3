"""The best epoch of nodes some of which cannot be judged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from mentorch import Edge, Graph, History, RunError, fit
from mentorch.training import Monitor, On, Plateau

NAN = float("nan")
MakeData = Callable[..., list[tuple[Tensor, Tensor]]]


def run(data: MakeData, of_a: list[float], of_b: list[float], graph: Graph | None = None, **options: Any) -> History:
    """Two nodes whose accuracies are given."""
    epoch = {"a": 0, "b": 0}

    def scripted(name: str, values: list[float]) -> dict[str, Any]:
        def accuracy(output: Tensor, labels: Tensor) -> Tensor:
            return torch.full((len(labels),), values[epoch[name]])

        return {"accuracy": accuracy}

    def count(training: Any) -> None:
        epoch.update(dict.fromkeys(epoch, training.epoch))

    return fit(
        graph or pair(),
        data(2),
        optimizer=SGD,
        epochs=len(of_a),
        validation=data(1),
        metrics={"a": scripted("a", of_a), "b": scripted("b", of_b)},
        callbacks=[On("epoch", count)],
        **options,
    )


def pair() -> Graph:
    torch.manual_seed(0)
    edges = [Edge("labels", name, F.cross_entropy) for name in "ab"]
    return Graph({name: nn.Linear(4, 3) for name in "ab"}, edges)


@pytest.mark.parametrize("swap", [False, True])
def test_a_node_that_cannot_be_judged_is_the_worst(swap: bool, data: MakeData) -> None:
    good, bad = [0.1, 0.2, 0.6, 0.5], [NAN] * 4
    history = run(data, *((good, bad) if swap else (bad, good)), monitor=Monitor(node="*"), patience=2)
    assert (history.best_epoch, history.best_value) == (3, pytest.approx(0.6))
    assert history.best_node == ("a" if swap else "b")
    assert history.stopped is None


def test_nan_is_worst_whatever_the_direction() -> None:
    assert Monitor(higher=True).score(NAN) == Monitor(higher=False).score(NAN) == -float("inf")


def test_without_a_best_epoch_its_weights_are_not_to_be_had(data: MakeData) -> None:
    graph, last = pair(), pair()
    with pytest.raises(
        RunError, match=r"no epoch was best: accuracy was NaN or infinite in each; the nodes have their"
    ):
        run(data, [NAN, NAN], [NAN, NAN], graph, select="best")
    history = run(data, [NAN, NAN], [NAN, NAN], last, schedule=Plateau(patience=0))
    assert history.best_epoch is None
    first = run(data, [NAN, 0.0], [0.0, 0.0], select="best")
    assert first.best_epoch == 2
    untouched = pair()
    assert not torch.equal(graph.nodes["a"].weight, untouched.nodes["a"].weight)
