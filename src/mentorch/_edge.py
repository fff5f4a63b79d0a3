"""Edges: knowledge flowing one way, as a value."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import written
from mentorch.gates import Gate, as_gate

Loss = Callable[..., Tensor | Mapping[str, Tensor]]
"""``loss(student, *teachers)`` -> one value per sample ``[N]``, one value, or a mapping of named terms."""


@dataclass(frozen=True)
class Edge:
    """Knowledge flowing one way: a loss between what the sources and the target show, under a gate.

    Args:
        source: one address or several; their tensors are detached and passed to the loss after the target's.
        target: the address that learns, or several of one node; the loss then gets a tuple of their tensors.
        loss: ``loss(student, *teachers)``; a value per sample is averaged over the batch by the edge.
        gate: a number or a function of progress; 0 means closed, and costs nothing.
        adapter: applied to what the target shows before the loss; a module is trained and saved with the edge.
        name: unique in the graph; made from the other fields when empty.
    """

    source: str | tuple[str, ...]
    target: str | tuple[str, ...]
    loss: Loss
    gate: float | Gate = 1.0
    adapter: Callable[[Any], Any] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", (self.source,) if isinstance(self.source, str) else tuple(self.source))
        if not isinstance(self.target, str):
            object.__setattr__(self, "target", tuple(self.target))
        as_gate(self.gate)
        if isinstance(self.gate, Real) and not isinstance(self.gate, int | float):  # a number of NumPy's
            object.__setattr__(self, "gate", float(self.gate))
        if not self.targets:
            raise UsageError("an edge points to something: its target is an address")
        if not callable(self.loss):
            raise UsageError(f"the loss of an edge is a function, got {self.loss!r}")
        if not self.name:
            ends = f"{', '.join(self.sources)} -> {', '.join(self.targets)}"
            object.__setattr__(self, "name", f"{ends}: {loss_name(self.loss)}")

    @property
    def sources(self) -> tuple[str, ...]:
        """The source addresses, always a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def targets(self) -> tuple[str, ...]:
        """The target addresses, always a tuple."""
        return (self.target,) if isinstance(self.target, str) else self.target

    def __str__(self) -> str:
        return f"{self.name}  x {describe_gate(self.gate)}"


def loss_name(loss: Loss) -> str:
    """What a loss is called in names of edges: its function's or its class's name.

    >>> loss_name(functools.partial(nn.functional.mse_loss, reduction="none"))
    'mse_loss'
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "__name__", type(loss).__name__)


def describe_gate(gate: float | Gate) -> str:
    """A gate in a few characters: a number, or the dataclass as it prints."""
    return f"{gate:g}" if isinstance(gate, int | float) else repr(gate)


def without_addresses(text: str) -> str:
    """How something prints, without where it is in the memory of this process.

    >>> without_addresses("<function train at 0x7f21>")
    '<function train>'
    """
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def owned(edge: Edge) -> dict[str, nn.Module]:
    """The modules that an edge owns, also under options that were bound to them."""
    parts: dict[str, Any] = {"loss": edge.loss, "adapter": edge.adapter}
    for role, part in parts.items():
        while isinstance(part, functools.partial):
            part = part.func
        parts[role] = part
    return {role: part for role, part in parts.items() if isinstance(part, nn.Module)}


def named_terms(edge: Edge, student: Any, teachers: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """The loss of an edge, of what its target and its sources show: its terms, under the names that a graph gives them.

    Raises:
        UsageError: for a loss that returns anything but floating-point tensors, or writes in place to what it reads.
    """
    read = student, teachers
    before = written(read)
    value = edge.loss(student if edge.adapter is None else edge.adapter(student), *teachers)
    if written(read) != before:
        raise UsageError(f"edge {edge.name!r} overwrites in place what other edges read too: work on a copy")
    terms: dict[str, Any] = {edge.name: value}
    if isinstance(value, Mapping):
        terms = {f"{edge.name}/{term}": tensor for term, tensor in value.items()}
    if not terms or not all(isinstance(term, Tensor) and term.is_floating_point() for term in terms.values()):
        kinds = {str(v.dtype) if isinstance(v, Tensor) else type(v).__name__ for v in terms.values()} or {"none"}
        raise UsageError(
            f"edge {edge.name!r}: a loss returns a floating-point tensor or named ones, got {', '.join(sorted(kinds))}"
        )
    return list(terms.items())
