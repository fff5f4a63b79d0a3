"""An edge is a value: what it says of itself, what it owns, what it refuses."""

import dataclasses
import functools
import math
from typing import Any

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


def test_terms_are_named_after_the_edge() -> None:
    edge, one = Edge("a", "b", per_sample, name="e"), torch.ones(())
    assert named_terms(edge, one) == [("e", one)]
    assert named_terms(edge, {"x": one, "y": one}) == [("e/x", one), ("e/y", one)]
    for wrong in (1.0, None, (one,), {"x": 1.0}):
        with pytest.raises(UsageError, match="a loss returns a tensor or named tensors"):
            named_terms(edge, wrong)  # type: ignore[arg-type]
