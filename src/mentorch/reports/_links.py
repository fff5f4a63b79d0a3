"""A knowledge transfer graph as results.json records it, ready to be told and drawn."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from mentorch._errors import UsageError
from mentorch.gates import KINDS, as_gate
from mentorch.reports._format import dig, text

COURSES = ("constant", "rising", "falling", "scheduled")
"""How the weight of a gate goes over training."""
SHORT = {"Linear(0, 1)": "linear_up", "Linear(1, 0)": "linear_down"}
STEPS = 101  # where a gate is read to see how it goes
LONGEST = 200  # characters of a gate that is worth reading


@dataclass(frozen=True)
class Link:
    """One edge: addresses of its sources and targets, its loss and its gate as they are written."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    loss: str
    gate: str = "1"

    @property
    def target(self) -> str:
        """The node that learns."""
        return node_of(self.targets[0])

    @property
    def correct(self) -> bool:
        """Whether it counts only where its sender is right."""
        return self.loss.startswith("where_correct")

    @cached_property
    def weights(self) -> list[float]:
        """What its gate weighs from the first to the last step; empty for a gate that only Python knows."""
        return weights_of(self.gate)

    @property
    def course(self) -> str:
        """One of :data:`COURSES`."""
        weights = self.weights
        if not weights:
            return "scheduled"
        steps = [b - a for a, b in pairwise(weights)]
        if not any(steps):
            return "constant"
        return "rising" if min(steps) >= 0 else "falling" if max(steps) <= 0 else "scheduled"

    @property
    def gate_words(self) -> str:
        """The gate as short as it is known: ``0.9``, ``linear_up``, ``correct``, ``Cosine(1, 0.5)``."""
        bare = re.sub(r"\b\w+=", "", self.gate)
        bare = re.sub(r"(\d)\.0\b", r"\1", bare)
        gate = SHORT.get(bare, bare)
        return gate if not self.correct else "correct" if gate == "1" else f"correct x {gate}"

    def senders(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """The networks that it comes from, of those known; none for an edge from the labels."""
        return tuple(dict.fromkeys(node for source in self.sources if (node := node_of(source)) in known))


@dataclass(frozen=True)
class Plan:
    """Nodes by name and links, as far as the record is in order."""

    nodes: dict[str, dict[str, Any]]
    links: tuple[Link, ...]

    @property
    def learning(self) -> list[str]:
        """The nodes that learn."""
        return [name for name, node in self.nodes.items() if node.get("role") != "frozen"]

    @property
    def social(self) -> bool:
        """Whether networks teach each other, or more than two take part."""
        return len(self.nodes) > 2 or len(self.learning) > 1

    def between(self, sender: str, receiver: str) -> list[Link]:
        """The links from one node to another; from a node to itself: what it learns without another."""
        into = [link for link in self.links if link.target == receiver]
        if sender == receiver:
            return [link for link in into if set(link.senders(self.nodes)) <= {receiver}]
        return [link for link in into if sender in link.senders(self.nodes)]

    def link(self, name: str) -> Link:
        """The link of a name; what the name itself says where the record has none."""
        known = {link.name: link for link in self.links}
        return known[name] if name in known else _named(name)


def plan(graph: Any) -> Plan:
    """Read a recorded graph; nothing here fails on odd entries."""
    nodes, edges = ([item for item in _list(dig(graph, key)) if isinstance(item, dict)] for key in ("nodes", "edges"))
    links = []
    for edge in edges:
        source = edge.get("source")
        sources = tuple(map(text, source if isinstance(source, list | tuple) else [source]))
        targets = tuple(text(edge.get("target")).split(", "))
        loss, gate = text(edge.get("loss")), text(edge.get("gate", "1"))
        name = text(edge.get("name") or f"{', '.join(sources)} -> {', '.join(targets)}: {loss}")
        links.append(Link(name, sources or ("?",), targets, loss, gate))
    return Plan({text(node.get("name")): node for node in nodes}, tuple(links))


def node_of(address: str) -> str:
    """The node of an address.

    >>> node_of("student.layer3"), node_of("student:logits")
    ('student', 'student')
    """
    return address.replace(":", ".").split(".")[0]


def place_of(address: str) -> str:
    """Where in its node an address points.

    >>> place_of("student.fc:in"), place_of("student")
    ('fc:in', 'output')
    """
    return address[len(node_of(address)) :].lstrip(".") or "output"


def weights_of(gate: str) -> list[float]:
    """The weights of a written gate over training; empty for one that is not known.

    >>> weights_of("0.9")[0], weights_of("Linear(start=0.0, end=1.0)")[-1], weights_of("open()")
    (0.9, 1.0, [])
    """
    if len(gate) > LONGEST:
        return []
    try:
        found = as_gate(_value(ast.parse(gate, mode="eval").body))
        return [float(found(i / (STEPS - 1))) for i in range(STEPS)]
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, UsageError):
        return []


def _value(node: ast.expr) -> Any:
    """A number, a tuple of numbers, or one of mentorch's gates; nothing else is looked at, and nothing is executed."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    kind = KINDS.get(node.func.id.lower()) if isinstance(node.func, ast.Name) else None
    if kind is None:
        raise ValueError("not a gate")
    return kind(*map(_value, node.args), **{word.arg: _value(word.value) for word in node.keywords if word.arg})


def _named(name: str) -> Link:
    ends, _, loss = name.partition(": ")
    sources, _, targets = ends.rpartition(" -> ")
    return Link(name, tuple(sources.split(", ")), tuple(targets.split(", ")), loss or name)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
