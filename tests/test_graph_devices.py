"""Nodes on devices of their own, with devices that only pretend: every tensor knows where it would be."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mentorch import Edge, Graph, UsageError, freeze, losses

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
HERE = {"teacher": "cuda:0", "student": "cuda:1"}


def network(width: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("by", torch.ones(4))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.by


def make(**options: Any) -> Graph:
    edges = [
        Edge("labels", "student", F.cross_entropy),
        Edge("teacher", "student", losses.kd),
        Edge("student", "peer", losses.kd),
        Edge("teacher.0", "student.0", F.mse_loss, adapter=nn.Linear(6, 8)),
    ]
    return Graph({"teacher": freeze(network(8)), "student": network(), "peer": network()}, edges, **options)


def move(module: nn.Module, device: Any) -> nn.Module:
    """``module.to(device)``, which PyTorch cannot do with tensors that pretend."""
    for part in module.modules():
        for name, value in part._parameters.items():
            part._parameters[name] = nn.Parameter(value.detach().to(device), value.requires_grad)
        for name, value in part._buffers.items():
            part._buffers[name] = value.to(device)
    return module


def test_every_network_runs_where_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "to", move)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():  # devices that are not there have no gradients
        inputs, labels = torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)
        graph = make(devices=HERE, views={"teacher": Shift()})
        where = {name: {str(p.device) for p in node.parameters()} for name, node in graph.nodes.items()}
        assert where == {"teacher": {"cuda:0"}, "student": {"cuda:1"}, "peer": {"cpu"}}
        assert {str(p.device) for p in graph.owned.parameters()} == {"cuda:1"}
        found = graph(inputs, labels=labels)
        assert {str(loss.device) for loss in found.values()} == {"cuda:1"}
        assert str(graph.predict("teacher", inputs).device) == "cuda:0"


def test_moving_the_graph_does_not_move_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = make(devices={"peer": "cpu"})
    moved = []
    monkeypatch.setattr(graph.nodes["peer"], "to", moved.append)
    graph.to(torch.float64)  # what a move does, of a device or a precision
    assert moved == [torch.device("cpu")]


def test_without_it_the_same_graph_is_on_one_device() -> None:
    graph = make()
    assert {p.device.type for p in graph.parameters()} == {"cpu"}
    assert graph.devices == {}


def test_a_device_for_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="devices: there is no node 'tutor'"):
        make(devices={"tutor": "cpu"})
