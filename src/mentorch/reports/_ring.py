"""A graph of networks that teach each other: nodes on a ring, two curved arrows between those that teach both ways.

Fill: accuracy, also written. Line: the course of the gate; a hollow head where only what the sender gets right counts.
Width: the share of the gradient. Labels are a small square beside the nodes that learn from them, so that they add no
arrows across the ring.
"""

import math
from dataclasses import dataclass
from html import escape

from mentorch.reports._links import COURSES, Link, Plan
from mentorch.reports._plot import INK, PAPER, paint
from mentorch.reports._svg import Measured, details, drawing, fit, line_of_text, pixels, shade, stroke

RADIUS = 27.0  # pixels, of a node
APART = 132.0  # pixels between neighbours
BEND = 0.09  # of an arrow, in its length
WIDEST = 200.0  # pixels, of a name
AROUND = 70.0  # pixels that a node needs above or below its centre
NAME = 9.0  # pixels between a node and its name
SIDE = 160.0  # pixels that the legend needs to either side
LINE = 19  # pixels, of the legend
COURSE_WORDS = {
    "constant": "constant gate",
    "rising": "rising gate",
    "falling": "falling gate",
    "scheduled": "gate that comes and goes",
}


@dataclass(frozen=True)
class Place:
    """Where a node is: its centre, and the angle at which it is seen from the centre of the ring."""

    x: float
    y: float
    angle: float

    def away(self, distance: float, turn: float = 0.0) -> tuple[float, float]:
        """A point outside of the ring, ``turn`` degrees off the way straight out."""
        angle = self.angle + math.radians(turn)
        return self.x + distance * math.cos(angle), self.y + distance * math.sin(angle)


def ring(plan: Plan, measured: Measured) -> str:
    """The graph as one SVG."""
    places, wide, high = _places(plan)
    legend = _legend(plan, measured)
    parts = [_arrow(link, plan, places, measured) for link in plan.links]
    parts += [_node(name, place, plan, measured) for name, place in places.items()]
    parts += [f'<g transform="translate(12 {high + 6 + LINE * i:.0f})">{line}</g>' for i, line in enumerate(legend)]
    return drawing(wide, high + LINE * len(legend) + 12, "".join(parts))


def _places(plan: Plan) -> tuple[dict[str, Place], float, float]:
    """Where the nodes are, and the width and height that they need with their names."""
    n = len(plan.nodes)
    start = math.pi if n == 2 else -math.pi / 2  # two stand side by side, more begin at the top
    radius = (APART if n < 5 else 1.15 * APART) / 2 / math.sin(math.pi / max(n, 2))
    angles = {name: start + 2 * math.pi * i / n for i, name in enumerate(plan.nodes)}
    half = SIDE
    for name, angle in angles.items():
        words = min(WIDEST, max(pixels(name), pixels(details(plan.nodes[name]), 11)))
        out = radius + RADIUS + NAME
        half = max(half, out * abs(math.cos(angle)) + words / (2 if _anchor(angle) == "middle" else 1) + 6)
    tall = [radius * math.sin(angle) for angle in angles.values()]
    places = {
        name: Place(half + radius * math.cos(angle), AROUND + radius * math.sin(angle) - min(tall), angle)
        for name, angle in angles.items()
    }
    return places, 2 * half, max(tall) - min(tall) + 2 * AROUND


def _anchor(angle: float) -> str:
    """How a name stands outside of its node."""
    side = math.cos(angle)
    return "middle" if abs(side) < 0.3 else "start" if side > 0 else "end"


def _node(name: str, place: Place, plan: Plan, measured: Measured) -> str:
    frozen = name not in plan.learning
    fill, ink = measured.colours(name, shade(frozen))
    style = f'style="fill: {fill}; stroke: {INK}; stroke-width: 1.5"'
    about, percent = details(plan.nodes[name]), measured.percent(name)
    if frozen:
        corner = (place.x - 0.88 * RADIUS, place.y - 0.88 * RADIUS)
        side = 1.76 * RADIUS
        shape = f'<rect x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{side:.1f}" height="{side:.1f}" {style}/>'
    else:
        shape = f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="{RADIUS:.0f}" {style}/>'
    role = "frozen" if frozen else "learning"
    title = f"<title>{escape(f'{name} ({role}) {about} {percent}')}</title>"
    number = line_of_text(place.x, place.y + 4.5, percent, weight="600", ink=ink) if percent else ""
    x, y = place.away(RADIUS + NAME)
    anchor = _anchor(place.angle)
    if anchor == "middle":
        y += 13 if math.sin(place.angle) > 0 else -13
    words = line_of_text(x, y - 1, fit(name, WIDEST), weight="600", anchor=anchor, halo=True)
    words += line_of_text(x, y + 13, fit(about, WIDEST, 11), size=11, anchor=anchor, halo=True)
    return f"<g>{title}{shape}{number}{words}</g>"


def _arrow(link: Link, plan: Plan, places: dict[str, Place], measured: Measured) -> str:
    """The arrows of one edge: one from each network that it comes from, a short one from the labels' square."""
    if link.target not in places:
        return ""
    width = measured.width(link)
    target = places[link.target]
    senders = link.senders(plan.nodes)
    lines = "".join(_curve(places[s], target, link, width, _lane(link, s, plan)) for s in senders if s != link.target)
    if not senders:
        lines = _stub(target, link, width, _lane(link, link.target, plan))
    elif link.target in senders:
        lines += _loop(target, link, width)
    share = measured.share.get(link.name)
    about = f", {100 * share:.0f} % of the gradient" if share is not None else ""
    return f"<g><title>{escape(f'{link.name}, gate {link.gate_words}{about}')}</title>{lines}</g>"


def _lane(link: Link, sender: str, plan: Plan) -> int:
    """Edges of one pair run beside each other."""
    return plan.between(sender, link.target).index(link)


def _curve(source: Place, target: Place, link: Link, width: float, lane: int) -> str:
    length = math.hypot(target.x - source.x, target.y - source.y)
    bend = 10 + BEND * length + 16 * lane
    across = ((target.y - source.y) / length, -(target.x - source.x) / length)
    bow = ((source.x + target.x) / 2 + bend * across[0], (source.y + target.y) / 2 + bend * across[1])
    start = _towards((source.x, source.y), bow, RADIUS + 1)
    tip = _towards((target.x, target.y), bow, RADIUS + 2)
    end = _towards((target.x, target.y), bow, RADIUS + 2 + _head_length(width))
    path = f"M{start[0]:.1f} {start[1]:.1f}Q{bow[0]:.1f} {bow[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return f'<path d="{path}" style="{stroke(link, width)}"/>{_head(tip, end, width, link.correct)}'


def _stub(target: Place, link: Link, width: float, lane: int) -> str:
    """The labels: a small square outside of the ring."""
    turn = 68 + 24 * lane
    x, y = target.away(RADIUS + 30, turn)
    tip, end = target.away(RADIUS + 2, turn), target.away(RADIUS + 2 + _head_length(width), turn)
    path = f"M{x:.1f} {y:.1f}L{end[0]:.1f} {end[1]:.1f}"
    square = f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" style="fill: {INK}"/>'
    return f'<path d="{path}" style="{stroke(link, width)}"/>{_head(tip, end, width, link.correct)}{square}'


def _loop(target: Place, link: Link, width: float) -> str:
    """A node that teaches itself."""
    start, tip = target.away(RADIUS + 1, -85), target.away(RADIUS + 2, -45)
    far, near = target.away(RADIUS + 34, -95), target.away(RADIUS + 34, -45)
    end = _towards(tip, near, _head_length(width))
    ways = " ".join(f"{x:.1f} {y:.1f}" for x, y in (far, near, end))
    path = f"M{start[0]:.1f} {start[1]:.1f}C{ways}"
    return f'<path d="{path}" style="{stroke(link, width)}"/>{_head(tip, end, width, link.correct)}'


def _head_length(width: float) -> float:
    return 7 + 1.2 * width


def _head(tip: tuple[float, float], base: tuple[float, float], width: float, hollow: bool) -> str:
    length = math.dist(tip, base)
    across = ((tip[1] - base[1]) / length, -(tip[0] - base[0]) / length)
    half = 3.5 + 0.8 * width
    left, right = ((base[0] + side * half * across[0], base[1] + side * half * across[1]) for side in (1, -1))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, left, right))
    return f'<polygon points="{points}" style="fill: {PAPER if hollow else INK}; stroke: {INK}; stroke-width: 1.2"/>'


def _towards(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    length = math.dist(start, end)
    return start[0] + (end[0] - start[0]) * distance / length, start[1] + (end[1] - start[1]) * distance / length


def _legend(plan: Plan, measured: Measured) -> list[str]:
    """What the signs mean, one per line, and only those that are there."""
    lines = []
    if measured.accuracy:
        low, high = (f"{100 * end:.1f}" for end in (measured.low, measured.high))
        cells = "".join(
            f'<rect x="{16 * i}" y="0" width="16" height="11" style="fill: {paint(i / 4)[0]}"/>' for i in range(5)
        )
        lines.append(cells + _say(f"validation accuracy, {low} to {high} %", 92))
    for course in COURSES:
        example = next((link for link in plan.links if link.course == course), None)
        if example is not None:
            lines.append(f'<path d="M0 6H76" style="{stroke(example, 2)}"/>' + _say(COURSE_WORDS[course], 92))
    if any(link.correct for link in plan.links):
        lines.append(_head((76, 6), (64, 6), 2, hollow=True) + _say("counts where the sender is right", 92))
    wide = "its share of the gradient" if measured.share else "its mean weight"
    lines.append('<path d="M0 9V3L76 0V12Z" style="' + f'fill: {INK}"/>' + _say(f"width: {wide}", 92))
    square = f'<rect x="67" y="1.5" width="9" height="9" style="fill: {INK}"/>'
    if any(not link.senders(plan.nodes) for link in plan.links):
        lines.append(square + _say("labels", 92))
    if len(plan.learning) < len(plan.nodes):
        box = f'<rect x="64" y="0" width="12" height="12" style="fill: {shade(True)}; stroke: {INK}"/>'
        lines.append(box + _say("frozen: only teaches", 92))
    return lines


def _say(words: str, x: float) -> str:
    return line_of_text(x, 10, words, size=11, anchor="start")
