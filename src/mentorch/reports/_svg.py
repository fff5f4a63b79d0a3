"""Pieces that the drawings of graphs are made of."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from mentorch.reports._format import amount, number, shorten, text
from mentorch.reports._links import Link
from mentorch.reports._plot import INK, PAPER, RULE, paint

DASHES: Mapping[str, tuple[float, ...]] = {
    "constant": (),
    "rising": (7, 3),
    "falling": (1.5, 2.5),
    "scheduled": (8, 2.5, 1.5, 2.5),
}
"""How a line is broken by the course of its gate, in widths of the line."""


@dataclass(frozen=True)
class Measured:
    """What is known about the nodes and edges of a graph.

    Attributes:
        accuracy: of nodes, on validation images.
        share: of edges in the gradient of their node.
        low: the accuracy that is drawn lightest.
        high: the accuracy that is drawn darkest.
    """

    accuracy: Mapping[str, float] = field(default_factory=dict)
    share: Mapping[str, float] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0

    def colours(self, name: str, otherwise: str = PAPER) -> tuple[str, str]:
        """Fill and ink of a node."""
        value = self.accuracy.get(name)
        if value is None:
            return otherwise, INK
        return paint((value - self.low) / (self.high - self.low) if self.high > self.low else 0.5)

    def percent(self, name: str) -> str:
        """A node's accuracy in percent, or nothing."""
        value = self.accuracy.get(name)
        return "" if value is None else f"{100 * value:.1f}"

    def width(self, link: Link) -> float:
        """The width of an edge: with its share of the gradient, else with its mean weight."""
        mean = sum(link.weights) / len(link.weights) if link.weights else 0.5
        return 1.0 + 4.0 * self.share.get(link.name, min(max(mean, 0.0), 1.0) / 4)


def stroke(link: Link, width: float) -> str:
    """The style of an edge's line."""
    dashes = " ".join(f"{width * part if width > 1.5 else 1.5 * part:.1f}" for part in DASHES[link.course])
    return f"fill: none; stroke: {INK}; stroke-width: {width:.2f}" + (f"; stroke-dasharray: {dashes}" if dashes else "")


def details(node: Mapping[str, Any] | None) -> str:
    """What stands below a node's name: network and size."""
    if node is None:
        return "data"
    network, parameters = node.get("network"), number(node.get("parameters"))
    known = [text(network)] * bool(network) + [amount(parameters)] * bool(parameters)
    return " · ".join(known) or text(node.get("role", ""))


def pixels(words: str, size: float = 13) -> float:
    """The width of a line of text, generously: fonts differ from machine to machine."""
    return sum(size if unicodedata.east_asian_width(letter) in "WF" else 0.6 * size for letter in words)


def fit(words: str, room: float, size: float = 13) -> str:
    """As much of a line of text as there is room for; three letters at least."""
    length, found = len(words), words
    while pixels(found, size) > room and length > 3:  # how wide a cut is depends on its letters, and blanks at it go
        length -= 1
        found = shorten(words, length)
    return found


def line_of_text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    weight: str = "400",
    anchor: str = "middle",
    ink: str = INK,
    halo: bool = False,
) -> str:
    """A line of text; with a halo it stays legible on lines."""
    edge = f"; stroke: {PAPER}; stroke-width: 4; stroke-linejoin: round; paint-order: stroke" if halo else ""
    style = f"fill: {ink}; font-size: {size}px; font-weight: {weight}{edge}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def drawing(width: float, height: float, parts: str) -> str:
    """The whole SVG."""
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    # a small graph is not blown up on a wide page, a wide one scrolls on a phone instead of shrinking to dust
    bounds = f"width: {width:.0f}px; max-width: 100%; min-width: {min(width, max(320, 0.8 * width)):.0f}px"
    font = 'font-family="system-ui, sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} style="{bounds}">{parts}</svg>\n'


def shade(frozen: bool) -> str:
    """The fill of a node of unknown accuracy."""
    return RULE if frozen else PAPER
