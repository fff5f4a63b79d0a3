"""A graph as a point of a search space: plain data that is compared, hashed, drawn and written."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mentorch._errors import UsageError
from mentorch._graph import Graph, View
from mentorch.gates import Gate, as_data, as_gate, from_data
from mentorch.methods import GATES, from_matrix

TARGET = "target"
CUT, THROUGH, CORRECT = "cutoff", "through", "correct"
_GRID = 1000
_WRITTEN = tuple("{0123456789.-")


def label(entry: float | Gate | str) -> str:
    """What a gate is called in a space: one of the published names, or its written form.

    >>> from mentorch.gates import Cosine, Linear
    >>> label(1.0), label(Linear(0.0, 1.0)), label(Cosine(0.0, 1.0))
    ('through', 'linear_up', '{"cosine": {"start": 0.0, "end": 1.0}}')

    Raises:
        UsageError: for an unknown name, or a gate without a written form.
    """
    if isinstance(entry, str) and entry in GATES:
        return entry
    gate = _read(entry) if isinstance(entry, str) else entry
    named = (name for name, known in GATES.items() if as_gate(known) == as_gate(gate))
    return next(named, json.dumps(as_data(gate)))


def _read(text: str) -> float | Gate:
    """A gate by its written form, or by its name."""
    data = text
    if text.startswith(_WRITTEN):
        with contextlib.suppress(ValueError):
            data = json.loads(text)
    return from_data(data)


def gate_of(name: str) -> float | Gate:
    """The gate that :func:`label` named; that of ``correct`` is 1, its mask comes with the edge."""
    return GATES[name] if name in GATES else from_data(json.loads(name))


def opens_at(gate: float | Gate) -> float | None:
    """The progress at which a gate first has half of its largest weight; None for one that is always closed.

    >>> from mentorch.gates import Linear
    >>> opens_at(1.0), opens_at(Linear(0.0, 1.0)), opens_at(Linear(1.0, 0.0)), opens_at(0.0)
    (0.0, 0.5, 0.0, None)
    """
    weights = [abs(as_gate(gate)(i / _GRID)) for i in range(_GRID + 1)]
    half = max(weights) / 2
    return next(i for i, weight in enumerate(weights) if weight >= half) / _GRID if half else None


@dataclass(frozen=True)
class Candidate:
    """Partners of the target and a gate matrix: row = receiver, column = sender, diagonal = labels, target first.

    >>> Candidate(("small",), (("through", "correct"), ("cutoff", "cutoff")))
    Candidate(partners=('small',), gates=(('through', 'correct'), ('cutoff', 'cutoff')), loss='kd', temperature=None)

    Attributes:
        partners: the architecture of each node but the target.
        gates: N rows of N names (see :func:`mentorch.methods.from_matrix`) or written gates.
        loss: of every transfer, by its name in the space.
        temperature: of that loss; None for its own.

    Raises:
        UsageError: for a matrix of another size.
    """

    partners: tuple[str, ...]
    gates: tuple[tuple[str, ...], ...]
    loss: str = "kd"
    temperature: float | None = None

    def __post_init__(self) -> None:
        n = len(self.partners) + 1
        if len(self.gates) != n or any(len(row) != n for row in self.gates):
            raise UsageError(f"{n - 1} partners need a gate matrix of {n} rows and columns, got {self.gates}")

    @property
    def valid(self) -> bool:
        """Whether the target learns from somebody."""
        return any(gate != CUT for gate in self.gates[0])

    @property
    def frozen(self) -> tuple[bool, ...]:
        """Whether each partner only teaches: its row is all cut."""
        return tuple(all(gate == CUT for gate in row) for row in self.gates[1:])

    def canonical(self) -> "Candidate":
        """The representative of all candidates that train the target in the same way.

        On the diagonal ``correct`` is ``through``; nodes that reach the target over no path of open gates are dropped;
        the others stand in the order whose architectures and rows are lexicographically smallest; without a
        transfer there is no loss and no temperature.
        """
        n = len(self.gates)
        rows = [
            [THROUGH if i == j and gate == CORRECT else gate for j, gate in enumerate(row)]
            for i, row in enumerate(self.gates)
        ]
        kept, waiting = {0}, [0]
        while waiting:
            receiver = waiting.pop()
            found = {j for j in range(n) if j not in kept and rows[receiver][j] != CUT}
            kept |= found
            waiting += found
        networks = ("", *self.partners)
        orders = ((0, *rest) for rest in itertools.permutations(sorted(kept - {0})))
        partners, gates = min(
            (tuple(networks[i] for i in order[1:]), tuple(tuple(rows[i][j] for j in order) for i in order))
            for order in orders
        )
        if not partners:
            return Candidate(partners, gates, "", None)
        return Candidate(partners, gates, self.loss, self.temperature)

    @property
    def digest(self) -> str:
        """What graphs that train the target in the same way have in common: a hash of the canonical form."""
        return hashlib.sha256(json.dumps(self.canonical().to_data()).encode()).hexdigest()[:16]

    @property
    def opens_at(self) -> float:
        """The progress by which every gate that matters has opened."""
        gates = [gate_of(gate) for row in self.canonical().gates for gate in row]
        return max((at for gate in gates if (at := opens_at(gate)) is not None), default=0.0)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the nodes in the graph, target first."""
        return (TARGET, *(f"partner{i + 1}" for i in range(len(self.partners))))

    def draw(self, networks: Mapping[str, nn.Module], loss: Any, view: View | None = None) -> Graph:
        """The graph, of networks under :attr:`names`."""
        entries = [[gate if gate in GATES else gate_of(gate) for gate in row] for row in self.gates]
        return from_matrix(networks, entries, loss=loss, views=dict.fromkeys(networks, view) if view else None)

    def to_data(self) -> dict[str, Any]:
        """Plain data; ``Candidate.from_data`` reads it back."""
        return {
            "partners": list(self.partners),
            "gates": [list(row) for row in self.gates],
            "loss": self.loss,
            "temperature": self.temperature,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Candidate":
        """The candidate that :meth:`to_data` wrote."""
        gates = tuple(tuple(row) for row in data["gates"])
        return cls(tuple(data["partners"]), gates, data["loss"], data["temperature"])

    def __str__(self) -> str:
        rows = [["learns \\ from", *self.names]]
        rows += [[name, *row] for name, row in zip(self.names, self.gates, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        roles = ["frozen" if frozen else "learns" for frozen in self.frozen]
        partners = [f"partner{i + 1}: {a}, {r}" for i, (a, r) in enumerate(zip(self.partners, roles, strict=True))]
        return "\n".join([*lines, *partners])
