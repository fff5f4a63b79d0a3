"""An edge is a value: what it says of itself, what it owns, what it refuses."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, UsageError, gates
from mentorch._edge import describe_gate, loss_name, named_terms, owned


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().mean(1)


def test_an_edge_is_a_value() -> None:
    edge = Edge(["teacher", "labels"], "student", per_sample, gate=gates.Linear(1.0, 0.0))  # type: ignore[arg-type]
    assert edge == Edge(("teacher", "labels"), "student", per_sample, gate=gates.Linear(1.0, 0.0))
    assert hash(edge) == hash(dataclasses.replace(edge))
    assert edge.sources == ("teacher", "labels")
    assert edge.name == "teacher, labels -> student: per_sample"
    assert str(edge) == "teacher, labels -> student: per_sample  x Linear(start=1.0, end=0.0)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        edge.target = "other"  # type: ignore[misc]


@pytest.mark.parametrize("loss", [None, "kd", 0.5])
def test_a_loss_that_is_no_function_is_refused(loss: Any) -> None:
    with pytest.raises(UsageError, match="the loss of an edge is a function") as caught:
        Edge("teacher", "student", loss)
    assert repr(loss) in str(caught.value)


@pytest.mark.parametrize("gate", ["linear", None, math.nan, math.inf])
def test_a_gate_that_is_none_is_refused(gate: Any) -> None:
    with pytest.raises((UsageError, TypeError, ValueError), match=str(gate)):
        Edge("teacher", "student", per_sample, gate=gate)


class Owning(nn.Module):
    def forward(self, student: Tensor, teacher: Tensor, scale: float = 1.0) -> Tensor:
        return scale * per_sample(student, teacher)


def test_what_an_edge_owns_is_found_under_bound_options() -> None:
    loss, adapter = Owning(), nn.Linear(2, 2)
    assert owned(Edge("a", "b", per_sample)) == {}
    assert owned(Edge("a", "b", functools.partial(loss, scale=2.0), adapter=adapter)) == {
        "loss": loss,
        "adapter": adapter,
    }


@pytest.mark.parametrize(
    ("loss", "name"),
    [(F.mse_loss, "mse_loss"), (functools.partial(functools.partial(F.mse_loss)), "mse_loss"), (Owning(), "Owning")],
)
def test_a_loss_is_called_what_it_is(loss: Any, name: str) -> None:
    assert loss_name(loss) == name
    assert Edge("a", "b", loss).name == f"a -> b: {name}"


def test_a_gate_is_described_in_a_few_characters() -> None:
    assert describe_gate(0.90000) == "0.9"
    assert describe_gate(gates.Cosine()) == "Cosine(start=1.0, end=0.0)"


def returning(value: Any, **options: Any) -> Edge:
    return Edge("a", "b", lambda student, *teachers: value, name="e", **options)


def test_terms_are_named_after_the_edge() -> None:
    one = torch.ones(())
    assert named_terms(returning(one), one, []) == [("e", one)]
    assert named_terms(returning({"x": one, "y": one}), one, []) == [("e/x", one), ("e/y", one)]


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (1.0, "float"),
        (None, "NoneType"),
        ((torch.ones(()),), "tuple"),
        ({"x": 1.0}, "float"),
        ({}, "none"),
        (torch.ones((), dtype=torch.int64), "torch.int64"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused(wrong: Any, got: str) -> None:
    with pytest.raises(UsageError, match=rf"^edge 'e': a loss returns a .* or named ones, got {got}$"):
        named_terms(returning(wrong), torch.ones(()), [])


def test_the_adapter_comes_before_the_loss() -> None:
    edge = Edge("a", "b", per_sample, adapter=lambda student: 2 * student)
    [(_, value)] = named_terms(edge, torch.ones(1, 2), [torch.zeros(1, 2)])
    assert value.tolist() == [4.0]


@pytest.mark.parametrize(
    "edge",
    [
        Edge("a", "b", lambda student, teacher: (teacher.div_(2) - student).sum(), name="e"),
        Edge("a", "b", lambda student, teacher: (student[0].mul_(2) - teacher).sum(), name="e"),
        Edge("a", "b", per_sample, adapter=nn.ReLU(inplace=True), name="e"),
    ],
)
def test_what_an_edge_reads_it_must_not_overwrite(edge: Edge) -> None:
    with pytest.raises(UsageError, match=r"^edge 'e' overwrites in place what other edges read too: work on a copy$"):
        named_terms(edge, torch.ones(1, 2), [torch.ones(1, 2)])


def test_an_edge_without_target_is_refused() -> None:
    with pytest.raises(UsageError, match="its target is an address"):
        Edge("a", (), per_sample)


def test_numbers_of_numpy_are_gates() -> None:
    edge = Edge("a", "b", per_sample, gate=np.float32(0.5))
    assert (type(edge.gate), edge.gate) == (float, 0.5)
