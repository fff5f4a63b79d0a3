"""Search spaces: who may teach, and through which gates."""

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from mentorch._edge import Loss, without_addresses
from mentorch._errors import UsageError, unknown
from mentorch.gates import Gate, as_data
from mentorch.losses import kd
from mentorch.losses._info import describe
from mentorch.search._candidate import CORRECT, CUT, TARGET, Candidate, gate_of, label, opens_at

PAPER = ("through", "cutoff", "linear_up", "correct")
"""The gates that arXiv 1909.04286 chooses from."""
FORK = ("through", "cutoff", "linear_up", "linear_down")
"""The gates of a later re-implementation, without a mask."""
KD: Mapping[str, Loss] = MappingProxyType({"kd": partial(kd, temperature=1.0)})


@dataclass(frozen=True)
class Space:
    """What a search may choose: a gate per ordered pair and per label edge, and the architectures of the partners.

    >>> space = Space(("small", "large"))
    >>> list(space.choices)[:4]
    ['partner1', 'partner2', 'target from labels', 'target from partner1']
    >>> space.size  # 2 architectures twice, 3 label gates thrice, 4 gates for 6 pairs
    442368

    Args:
        partners: architectures that a partner may have, by name.
        nodes: the target and its partners.
        gates: of transfers: names (:data:`mentorch.methods.GATES`) or gates that have a written form.
        labels: of label edges; ``gates`` without ``correct`` unless given, as labels are always right.
        losses: of transfers, on logits, with their options bound; one is chosen for the whole graph.
        temperatures: to be bound to the loss; none leaves the losses as they are.

    Raises:
        UsageError: without partners or for less than two nodes, for a choice without alternatives, or for an unknown
            gate.
    """

    partners: tuple[str, ...]
    nodes: int = 3
    gates: tuple[float | Gate | str, ...] = PAPER
    labels: tuple[float | Gate | str, ...] | None = None
    losses: Mapping[str, Loss] = field(default_factory=lambda: KD)
    temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.nodes < 2 or not self.partners:
            raise UsageError(
                f"a search needs a target and partners: got {self.nodes} nodes, {len(self.partners)} partners"
            )
        if not self.losses:
            raise UsageError("a search needs a loss for transfers, such as {'kd': losses.kd}")
        gates = tuple(dict.fromkeys(map(label, self.gates)))
        own = [gate for gate in gates if gate != CORRECT] if self.labels is None else map(label, self.labels)
        for name, value in {"gates": gates, "labels": tuple(dict.fromkeys(own))}.items():
            object.__setattr__(self, name, value)
            if set(value) <= {CUT}:
                raise UsageError(f"{name} of a search must offer something that is open, got {list(value)}")
        for name in ("partners", "temperatures"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes, target first."""
        return (TARGET, *(f"partner{i}" for i in range(1, self.nodes)))

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Name of a choice -> its alternatives."""
        found: dict[str, tuple[Any, ...]] = dict.fromkeys(self.names[1:], self.partners)
        for receiver, sender in itertools.product(self.names, self.names):
            found[_name(receiver, sender)] = self._gates(receiver, sender)
        found["loss"] = tuple(self.losses)
        found |= {"temperature": self.temperatures} if self.temperatures else {}
        return found

    @property
    def size(self) -> int:
        """How many combinations there are, before those that are the same graph are merged."""
        return math.prod(map(len, self.choices.values()))

    @property
    def opens_at(self) -> float:
        """The progress by which every gate that may be chosen has opened."""
        times = (opens_at(gate_of(str(gate))) for gate in (*self.gates, *(self.labels or ())))
        return max((at for at in times if at is not None), default=0.0)

    def candidate(self, chosen: Mapping[str, Any]) -> Candidate:
        """The candidate of one alternative per choice."""
        names = self.names
        gates = tuple(tuple(chosen[_name(receiver, sender)] for sender in names) for receiver in names)
        return Candidate(tuple(chosen[name] for name in names[1:]), gates, chosen["loss"], chosen.get("temperature"))

    def chosen(self, candidate: Candidate) -> dict[str, Any]:
        """The alternatives that make a candidate; nodes that it does not have are cut off.

        Raises:
            UsageError: if it lies outside of the space.
        """
        size = len(candidate.gates)
        if size > self.nodes:
            raise UsageError(f"a candidate of {size} nodes is not in a space of {self.nodes}")
        own = dict(zip(self.names[1:], (*candidate.partners, *[self.partners[0]] * self.nodes), strict=False))
        for (i, receiver), (j, sender) in itertools.product(enumerate(self.names), enumerate(self.names)):
            own[_name(receiver, sender)] = candidate.gates[i][j] if max(i, j) < size else CUT
        own["loss"] = candidate.loss or next(iter(self.losses))
        chosen: dict[str, Any] = dict(own)
        if self.temperatures:
            chosen["temperature"] = candidate.temperature or self.temperatures[0]
        for name, alternatives in self.choices.items():
            if chosen[name] not in alternatives:
                raise unknown(name, str(chosen[name]), map(str, alternatives))
        return chosen

    def random(self, draw: random.Random) -> Candidate:
        """A candidate, each alternative as likely as the others."""
        return self.candidate({name: draw.choice(values) for name, values in self.choices.items()})

    def loss(self, candidate: Candidate) -> Loss:
        """The loss of a candidate's transfers."""
        loss = self.losses[candidate.loss or next(iter(self.losses))]
        return loss if candidate.temperature is None else partial(loss, temperature=candidate.temperature)

    def to_data(self) -> dict[str, Any]:
        """What two searches must have in common to share results."""
        written = {gate: as_data(gate_of(str(gate))) for gate in (*self.gates, *(self.labels or ()))}
        return {
            "partners": list(self.partners),
            "nodes": self.nodes,
            "gates": list(self.gates),
            "labels": list(self.labels or ()),
            "weights": written,
            "losses": {name: without_addresses(describe(loss)) for name, loss in self.losses.items()},
            "temperatures": list(self.temperatures),
        }

    def _gates(self, receiver: str, sender: str) -> tuple[Any, ...]:
        return (self.labels or ()) if receiver == sender else self.gates


def _name(receiver: str, sender: str) -> str:
    return f"{receiver} from {'labels' if receiver == sender else sender}"
