from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, RunError, UsageError
from mentorch._trial import try_edge

N, K = 6, 3


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def tried(loss: Any, *, teacher: Tensor | None = None, adapter: Any = None, build: bool = True) -> Edge:
    edge = Edge("teacher", "student", loss, adapter=adapter, name="the edge")
    try_edge(edge, torch.randn(N, K), [torch.randn(N, 5) if teacher is None else teacher], build=build)
    return edge


class Widened(nn.Module):
    """An adapter and a loss in one, whose weights have the shape of what they see first."""

    def build(self, student: Tensor, *teachers: Tensor) -> None:
        self.fc = nn.Linear(student.shape[1], teachers[0].shape[1], dtype=torch.float64)

    def forward(self, student: Tensor, *teachers: Tensor) -> Tensor:
        widened = self.fc(student.double())
        return per_sample(widened, *teachers) if teachers else widened


class NeverBuilt(nn.Module):
    def build(self, student: Tensor, *teachers: Tensor) -> None:
        raise ValueError("needs maps [N, C, H, W]")

    def forward(self, student: Tensor, *teachers: Tensor) -> Tensor:
        return student


def fails(error: Exception) -> Any:
    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        raise error

    return loss


def test_the_loss_is_built_from_what_the_adapter_returns_and_both_come_in_evaluation_mode() -> None:
    edge = tried(Widened(), adapter=Widened())
    assert (edge.adapter.fc.in_features, edge.adapter.fc.out_features) == (K, 5)
    assert (edge.loss.fc.in_features, edge.loss.fc.out_features) == (5, 5)
    assert not edge.adapter.training
    assert not edge.loss.training


def test_what_was_built_is_tried_and_not_built_again() -> None:
    edge = tried(Widened())
    weight = edge.loss.fc.weight
    try_edge(edge, torch.randn(N, K), [torch.randn(N, 5)], build=False)
    assert edge.loss.fc.weight is weight
    with pytest.raises(UsageError, match="edge 'the edge' failed on tensors of shape"):
        tried(Widened(), build=False)


def test_several_places_of_a_target_are_all_named_with_their_shapes() -> None:
    edge = Edge("teacher", ("student.a", "student.b"), fails(ValueError("no such\nsize")), name="two")
    with pytest.raises(
        UsageError, match=r"edge 'two' failed on tensors of shape \[2, 3\], \[2, 4\], \[5\]: no such size$"
    ):
        try_edge(edge, (torch.zeros(2, 3), torch.zeros(2, 4)), [torch.zeros(5)], build=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tried(per_sample), ("[6, 3]", "[6, 5]", "must match")),
        (
            lambda: tried(F.cross_entropy, teacher=torch.full((N,), K)),
            ("[6, 3]", "[6]", "out of bounds"),
        ),
        (
            lambda: tried(F.cross_entropy, teacher=torch.zeros(4).long()),
            ("[6, 3]", "[4]", "batch_size"),
        ),
        (lambda: tried(lambda z: z), ("positional argument",)),
        (lambda: tried(lambda z, t: 1.0), ("float",)),
        (lambda: tried(lambda z, t: None), ("None",)),
        (lambda: tried(lambda z, t: (z, t)), ("tuple",)),
        (lambda: tried(lambda z, t: {"a": 1.0}), ("float",)),
        (lambda: tried(fails(KeyError("weight"))), ("weight",)),
        (lambda: tried(fails(AssertionError("not square"))), ("not square",)),
        (lambda: tried(fails(AttributeError("no such field"))), ("no such field",)),
        (lambda: tried(fails(UsageError("temperature is 0"))), ("temperature is 0",)),
        (lambda: tried(per_sample, adapter=nn.Linear(7, 5)), ("[6, 3]",)),
        (lambda: tried(NeverBuilt()), ("needs maps [N, C, H, W]",)),
        (lambda: tried(per_sample, adapter=NeverBuilt()), ("needs maps [N, C, H, W]",)),
    ],
)
def test_an_edge_that_cannot_work_is_named_with_its_shapes(make: Any, says: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    message = str(caught.value)
    assert message.count("edge 'the edge'") == 1
    for part in says:
        assert part in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("term", ["", "/term"])
def test_an_edge_that_is_not_finite_is_named(bad: float, term: str) -> None:
    with pytest.raises(RunError, match=f"the edge{term}' is not finite on the first batch"):
        tried(lambda z, t: {"term": z.sum() * bad} if term else z.sum(1) * bad)
