import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from mentorch import Edge, Graph, RunError, UsageError, fit, freeze
from mentorch.training import On
from mentorch.training._weights import all_finite, copied, fill, part, sharded, update_average, whole


def test_what_is_not_finite_is_found() -> None:
    assert all_finite([])
    assert all_finite([torch.ones(2), torch.zeros(3)])
    for value in (float("nan"), float("inf")):
        assert not all_finite([torch.ones(2), torch.tensor([0.0, value])])


def test_an_average_moves_towards_the_weights_and_takes_the_buffers() -> None:
    node = nn.BatchNorm1d(2)
    average = copy.deepcopy(node)
    with torch.no_grad():
        node.weight.fill_(3.0)
        node.running_mean.fill_(5.0)
    update_average(average, node, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [5.0, 5.0]


def test_copies_are_independent_and_can_be_put_back() -> None:
    node = nn.Linear(2, 2)
    before = copied(node)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    with torch.no_grad():
        node.weight.zero_()
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    fill(node, before)
    assert torch.equal(node.weight, kept["weight"])


def test_whole_tensors_stay_as_they_are() -> None:
    tensor = torch.ones(2)
    assert whole({"a": [tensor, 1]})["a"][0] is tensor
    assert part(tensor, torch.zeros(2)) is tensor
    assert not sharded(nn.Linear(1, 1))


class Noted(nn.Linear):
    """Keeps more in its state than tensors."""

    def __init__(self, note: str) -> None:
        super().__init__(4, 3)
        self.note = {"text": note}

    def get_extra_state(self) -> dict[str, str]:
        return self.note

    def set_extra_state(self, state: dict[str, str]) -> None:
        self.note = state


def test_what_is_no_tensor_is_copied_and_put_back_too() -> None:
    node = Noted("before")
    before = copied(node)
    node.note["text"] = "after"
    fill(node, before)
    assert node.note == {"text": "before"}


def test_networks_with_more_than_tensors_are_trained_and_gone_on_with(data: Any, tmp_path: Path) -> None:
    def run(**options: Any) -> list[float]:
        torch.manual_seed(0)
        graph = Graph({"s": Noted("student")}, [Edge("labels", "s", F.cross_entropy)])
        fit(graph, data(2), optimizer=SGD, epochs=3, validation=data(1), select="best", tensorboard=False, **options)
        return graph.nodes["s"].weight.flatten().tolist()

    with pytest.raises(ZeroDivisionError):
        run(run=tmp_path, callbacks=[On("epoch", lambda _: 1 / 0, at=[2])])
    assert run(run=tmp_path, resume=True) == run()


def test_a_teacher_with_more_than_tensors_teaches_but_for_a_run_folder(data: Any, tmp_path: Path) -> None:
    graph = Graph({"t": freeze(Noted("teacher")), "s": nn.Linear(4, 3)}, [Edge("t", "s", F.mse_loss)])
    fit(graph, data(2), optimizer=SGD, epochs=1)
    with pytest.raises(UsageError, match=r"^frozen node 't': '_extra_state' in the state is dict.*; fit without run="):
        fit(graph, data(2), optimizer=SGD, epochs=1, run=tmp_path)
    change = On("step", lambda training: training.graph.nodes["t"].weight.add_(1))
    with pytest.raises(RunError, match="frozen node 't' changed"):
        fit(graph, data(2), optimizer=SGD, epochs=1, callbacks=[change])
