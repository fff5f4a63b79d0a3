"""A knowledge transfer graph for the eye: as a drawing for the page, as text for the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from mentorch.reports._format import count, text
from mentorch.reports._lifelines import lifelines
from mentorch.reports._links import Plan, plan
from mentorch.reports._ring import ring
from mentorch.reports._svg import Measured


def graph_svg(graph: dict[str, Any], measured: Measured | None = None) -> str:
    """The graph as one SVG: networks that teach each other on a ring, one student with its teacher as lifelines."""
    found = plan(graph)
    return (ring if found.social else lifelines)(found, measured or Measured())


def graph_text(graph: dict[str, Any]) -> str:
    r"""The nodes of a graph as aligned lines, then its edges: as lines, or as a matrix where several learn.

    In the matrix a row is a receiver and a column a sender; the diagonal is what a node learns without another one,
    mostly from the labels; ``0`` is no edge, a blank one that could not be (a frozen node learns from nobody).

    Args:
        graph: ``{"nodes": [{name, role, network, parameters}], "edges": [{source, target, loss, gate}]}``.

    >>> edge = {"source": ["labels"], "target": "student", "loss": "cross_entropy", "gate": "1"}
    >>> print(graph_text({"nodes": [{"name": "student", "role": "learning"}], "edges": [edge]}))
    student  learning
    labels -> student  cross_entropy  gate 1
    >>> nodes = [{"name": name, "role": "learning"} for name in "ab"]
    >>> other = {"source": ["student"], "target": "b", "loss": "kd", "gate": "Linear(start=0.0, end=1.0)"}
    >>> print(graph_text({"nodes": nodes, "edges": [edge | {"target": "a"}, other | {"source": ["a"]}]}))
    a  learning
    b  learning
    learns \ from  a          b
    a              1          0
    b              linear_up  0
    labels: cross_entropy; others: kd
    """
    found = plan(graph)
    lines = []
    for name, node in found.nodes.items():
        size = f"{count(node.get('parameters'))} parameters" if node.get("parameters") else ""
        lines.append((name, text(node.get("role") or ""), text(node.get("network") or ""), size))
    return "\n".join(_aligned(lines) + (matrix_lines(found) if found.social else _aligned(_arrows(found))))


def matrix_lines(found: Plan) -> list[str]:
    """The gates as a matrix, receiver by sender, and below it what the losses are."""
    names = list(found.nodes)
    rows = [("learns \\ from", *names)]
    for receiver in found.learning:
        cells = (" + ".join(link.gate_words for link in found.between(sender, receiver)) or "0" for sender in names)
        rows.append((receiver, *cells))
    return [*_aligned(rows), *_losses(found)]


def _losses(found: Plan) -> list[str]:
    """Which losses the edges have: one line if all transfers are alike, else each edge."""
    alone = {link.loss for link in found.links if not link.senders(found.nodes)}
    others = {_bare(link.loss) for link in found.links if link.senders(found.nodes)}
    plain = all(":" not in end and "." not in end for link in found.links for end in (*link.sources, *link.targets))
    if len(alone) > 1 or len(others) > 1 or not plain:
        return _aligned(_arrows(found))
    words = [f"labels: {_join(alone)}"] * bool(alone) + [f"others: {_join(others)}"] * bool(others)
    return ["; ".join(words)] if words else []


def _bare(loss: str) -> str:
    """A loss without the correct gate around it, which the matrix tells."""
    inside = loss.removeprefix("where_correct(")
    return loss if inside == loss else inside.removesuffix(")")


def _join(losses: Iterable[str]) -> str:
    return ", ".join(sorted(losses))


def _arrows(found: Plan) -> list[tuple[str, ...]]:
    return [
        (f"{', '.join(link.sources)} -> {', '.join(link.targets)}", link.loss, f"gate {link.gate_words}")
        for link in found.links
    ]


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True) if width).rstrip()
        for line in lines
    ]
