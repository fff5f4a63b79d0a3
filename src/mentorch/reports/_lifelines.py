"""A graph of few nodes as lifelines: every node is a column and every edge a row, as in a sequence diagram.

No two arrows and no two labels can ever meet, whatever the number of edges, and each edge has room for its loss, its
gate and the places that it reads.
"""

from html import escape

from mentorch.reports._links import Link, Plan, node_of, place_of
from mentorch.reports._plot import INK, RULE
from mentorch.reports._svg import Measured, details, drawing, fit, line_of_text, pixels, shade, stroke

TOP, ROW, HEAD = 16, 54, 44  # pixels: above the boxes, per edge, height of a box
LEAST, MOST = 116, 300  # pixels: width of a column


def lifelines(plan: Plan, measured: Measured) -> str:
    """The graph as one SVG: learning nodes rounded, frozen ones with corners, labels and inputs dashed."""
    ends = [[*link.sources, *link.targets] for link in plan.links]
    outside = dict.fromkeys(node_of(end) for places in ends for end in places if node_of(end) not in plan.nodes)
    frozen = [name for name in plan.nodes if name not in plan.learning]
    columns = [*outside, *frozen, *plan.learning]
    rows = [(link, [columns.index(node_of(end)) for end in (*link.sources, link.targets[0])]) for link in plan.links]
    width = _column_width(columns, plan, measured, rows)
    loops = any(set(places) == {len(columns) - 1} for _, places in rows)
    total = int(width * (len(columns) + (0.5 if loops else 0)))
    height = TOP + HEAD + ROW * len(rows) + 28
    words = [max(pixels(name), pixels(_about(name, plan, measured), 11)) for name in columns]
    room = min(width, max([LEAST, *(word + 34 for word in words)])) - 14
    parts = [_box(name, plan, measured, int(width * (i + 0.5)), room, height) for i, name in enumerate(columns)]
    parts += [_arrow(link, places, measured, TOP + HEAD + 34 + ROW * i, width) for i, (link, places) in enumerate(rows)]
    return drawing(total, height, "".join(parts))


def _about(name: str, plan: Plan, measured: Measured) -> str:
    percent = measured.percent(name)
    return details(plan.nodes.get(name)) + (f" · {percent} %" if percent else "")


def _captions(link: Link) -> tuple[str, str]:
    """What stands above and below an arrow: the loss; the gate, and the places that are not plain outputs."""
    taps = [place for address in link.sources if (place := place_of(address)) != "output"]
    into = [place_of(address) for address in link.targets]
    path = f" · {', '.join(taps) or 'output'} → {', '.join(into)}" if taps or into != ["output"] else ""
    return link.loss, f"gate {link.gate_words}{path}"


def _column_width(columns: list[str], plan: Plan, measured: Measured, rows: list[tuple[Link, list[int]]]) -> float:
    needs = [pixels(name) + 32 for name in columns]
    needs += [pixels(_about(name, plan, measured), 11) + 32 for name in columns]
    for link, places in rows:
        above, below = _captions(link)
        span = max(places) - min(places)
        needs.append((max(pixels(above), pixels(below, 11)) + (28 if span else 60)) / max(span, 1))
    return min(max([LEAST, *needs]), MOST)


def _box(name: str, plan: Plan, measured: Measured, x: int, room: float, height: int) -> str:
    node = plan.nodes.get(name)
    frozen = name in plan.nodes and name not in plan.learning
    fill, ink = measured.colours(name, shade(frozen))
    dash = "; stroke-dasharray: 4 3" if node is None else ""
    left, about = x - room / 2, _about(name, plan, measured)
    role = "data" if node is None else "frozen" if frozen else "learning"
    return (
        f"<g><title>{escape(f'{name} ({role}) {about}')}</title>"
        f'<path d="M{x} {TOP + HEAD}V{height - 8}" style="stroke: {RULE}; stroke-width: 1.5"/>'
        f'<rect x="{left:.1f}" y="{TOP}" width="{room:.1f}" height="{HEAD}" rx="{0 if frozen else 9}"'
        f' style="fill: {fill}; stroke: {INK}; stroke-width: {1.5 if node else 1}{dash}"/>'
        f"{line_of_text(x, TOP + 19, fit(name, room - 14), weight='600', ink=ink)}"
        f"{line_of_text(x, TOP + 35, fit(about, room - 12, 11), size=11, ink=ink)}</g>"
    )


def _arrow(link: Link, places: list[int], measured: Measured, y: int, width: float) -> str:
    """One row: a dot at every source, an arrow head at the target; a loop where a node teaches itself."""
    *sources, target = (int(width * (place + 0.5)) for place in places)
    above, below = _captions(link)
    room = max(width * (max(places) - min(places)) - 16, width - 52)
    middle, anchor = (min(*sources, target) + max(*sources, target)) / 2, "middle"
    style = stroke(link, measured.width(link))
    lines = ""
    for source in sources:
        side = 1 if source > target else -1
        lines += f'<circle cx="{source}" cy="{y}" r="3.5" style="fill: {INK}"/>'
        if source == target:
            lines += f'<path d="M{source} {y}h22v12h-22" style="{style}"/>'
            lines += f'<path d="M{target} {y + 12}l9 -4v8z" style="fill: {INK}"/>'
        else:
            if source == (min if source < target else max)(sources):  # the others lie on the line of the outermost
                lines += f'<path d="M{source} {y}H{target + 8 * side}" style="{style}"/>'
            lines += f'<path d="M{target} {y}l{10 * side} -5v10z" style="fill: {INK}"/>'
    if set(sources) == {target}:
        middle, anchor = target + 30, "start"
    ends = f"{', '.join(link.sources)} -> {', '.join(link.targets)}"
    title = f"<title>{escape(f'{ends}: {above}')}</title>"
    heights = (y + 4, y + 19) if anchor == "start" else (y - 8, y + 16)
    words = line_of_text(middle, heights[0], fit(above, room), anchor=anchor, halo=True)
    words += line_of_text(middle, heights[1], fit(below, room, 11), size=11, anchor=anchor, halo=True)
    return f"<g>{title}{lines}{words}</g>"
