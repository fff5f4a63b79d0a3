"""A knowledge transfer graph for the eye: as lifelines in SVG, as a list in the terminal.

Every node is a column and every edge a row, as in a sequence diagram: no two arrows and no two labels can ever meet,
whatever the number of edges, where a drawing of nodes in the plane becomes unreadable from three mutual learners on.
"""

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import Any

from mentorch.reports._format import amount, count, dig, shorten, text
from mentorch.reports._plot import INK, PAPER, RULE

TOP, ROW, HEAD = 16, 54, 44  # pixels: above the boxes, per edge, height of a box
LEAST, MOST = 116, 300  # pixels: width of a column


def graph_text(graph: dict[str, Any]) -> str:
    """The nodes and edges of a graph as aligned lines.

    Args:
        graph: ``{"nodes": [{name, role, network, parameters}], "edges": [{source, target, loss, gate}]}``.

    >>> edge = {"source": ["labels"], "target": "student", "loss": "cross_entropy", "gate": "1"}
    >>> print(graph_text({"nodes": [{"name": "student", "role": "learning"}], "edges": [edge]}))
    student  learning
    labels -> student  cross_entropy  gate 1
    """
    nodes, edges = _parts(graph)
    lines = []
    for node in nodes:
        size = f"{count(node.get('parameters'))} parameters" if node.get("parameters") else ""
        lines.append((text(node.get("name")), text(node.get("role") or ""), text(node.get("network") or ""), size))
    arrows = []
    for edge in edges:
        arrow = f"{', '.join(_sources(edge))} -> {text(edge.get('target'))}"
        arrows.append((arrow, text(edge.get("loss")), f"gate {text(edge.get('gate', '1'))}"))
    return "\n".join(_aligned(lines) + _aligned(arrows))


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True) if width).rstrip()
        for line in lines
    ]


def graph_svg(graph: dict[str, Any]) -> str:
    """The graph as one SVG: learning nodes outlined, frozen ones shaded, labels and inputs dashed."""
    nodes, edges = _parts(graph)
    known = {text(node.get("name")): node for node in nodes}
    ends = [[*_sources(edge), text(edge.get("target"))] for edge in edges]
    outside = dict.fromkeys(_node(end) for places in ends for end in places if _node(end) not in known)
    frozen = [name for name, node in known.items() if node.get("role") == "frozen"]
    columns = [*outside, *frozen, *(name for name in known if name not in frozen)]
    rows = [(edge, [columns.index(_node(end)) for end in places]) for edge, places in zip(edges, ends, strict=True)]
    width = _column_width(columns, known, rows)
    loops = any(set(places) == {len(columns) - 1} for _, places in rows)
    total = int(width * (len(columns) + (0.5 if loops else 0)))
    height = TOP + HEAD + ROW * len(rows) + 28
    words = [max(_pixels(name), _pixels(_details(known.get(name)), 11)) for name in columns]
    room = min(width, max([LEAST, *(word + 34 for word in words)])) - 14
    parts = [_box(name, known.get(name), int(width * (i + 0.5)), room, height) for i, name in enumerate(columns)]
    parts += [_arrow(edge, places, TOP + HEAD + 34 + ROW * i, width) for i, (edge, places) in enumerate(rows)]
    size = f'viewBox="0 0 {total} {height}" width="{total}" height="{height}"'
    # a small graph is not blown up on a wide page, a wide one scrolls on a phone instead of shrinking to dust
    bounds = f"width: {total}px; max-width: 100%; min-width: {int(total * 0.8)}px"
    font = 'font-family="system-ui, sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} style="{bounds}">{"".join(parts)}</svg>\n'


def _parts(graph: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = (dig(graph, key) for key in ("nodes", "edges"))
    nodes, edges = (
        [item for item in items if isinstance(item, dict)] if isinstance(items, list) else [] for items in found
    )
    return nodes, edges


def _sources(edge: dict[str, Any]) -> list[str]:
    source = edge.get("source")
    return [text(item) for item in source] if isinstance(source, list | tuple) else [text(source)]


def _node(address: str) -> str:
    return address.replace(":", ".").split(".")[0]


def _place(address: str) -> str:
    return address[len(_node(address)) :].lstrip(".") or "output"


def _pixels(words: str, size: float = 13) -> float:
    """The width of a line of text, generously: fonts differ from machine to machine."""
    return sum(size if unicodedata.east_asian_width(letter) in "WF" else 0.6 * size for letter in words)


def _fit(words: str, room: float, size: float = 13) -> str:
    return words if _pixels(words, size) <= room else shorten(words, max(3, int(room / (0.6 * size))))


def _captions(edge: dict[str, Any]) -> tuple[str, str]:
    """What stands above and below an arrow: the loss; the gate, and the places that are not plain outputs."""
    target = text(edge.get("target"))
    taps = [place for address in _sources(edge) if (place := _place(address)) != "output"]
    path = f" · {', '.join(taps) or 'output'} → {_place(target)}" if taps or _place(target) != "output" else ""
    return text(edge.get("loss")), f"gate {text(edge.get('gate', '1'))}{path}"


def _column_width(columns: list[str], known: dict[str, Any], rows: list[tuple[dict[str, Any], list[int]]]) -> float:
    needs = [_pixels(name) + 32 for name in columns]
    needs += [_pixels(_details(known.get(name)), 11) + 32 for name in columns]
    for edge, places in rows:
        above, below = _captions(edge)
        span = max(places) - min(places)
        needs.append((max(_pixels(above), _pixels(below, 11)) + (28 if span else 60)) / max(span, 1))
    return min(max([LEAST, *needs]), MOST)


def _details(node: dict[str, Any] | None) -> str:
    if node is None:
        return "data"
    network, parameters = node.get("network"), node.get("parameters")
    return " · ".join([text(network)] * bool(network) + [amount(parameters)] * bool(parameters)) or text(
        node.get("role", "")
    )


def _box(name: str, node: dict[str, Any] | None, x: int, room: float, height: int) -> str:
    fill = f"fill: {RULE}" if node and node.get("role") == "frozen" else f"fill: {PAPER}"
    dash = "; stroke-dasharray: 4 3" if node is None else ""
    left = x - room / 2
    role = text((node or {}).get("role") or "data")
    return (
        f"<g><title>{escape(f'{name} ({role}) {_details(node)}')}</title>"
        f'<path d="M{x} {TOP + HEAD}V{height - 8}" style="stroke: {RULE}; stroke-width: 1.5"/>'
        f'<rect x="{left:.1f}" y="{TOP}" width="{room:.1f}" height="{HEAD}" rx="9"'
        f' style="{fill}; stroke: {INK}; stroke-width: {1.5 if node else 1}{dash}"/>'
        f"{_text(x, TOP + 19, _fit(name, room - 14), weight='600')}"
        f"{_text(x, TOP + 35, _fit(_details(node), room - 12, 11), size=11)}</g>"
    )


def _arrow(edge: dict[str, Any], places: list[int], y: int, width: float) -> str:
    """One row: a dot at every source, an arrow head at the target; a loop where a node teaches itself."""
    *sources, target = (int(width * (place + 0.5)) for place in places)
    above, below = _captions(edge)
    room = max(width * (max(places) - min(places)) - 16, width - 52)
    middle, anchor = (min(*sources, target) + max(*sources, target)) / 2, "middle"
    lines = ""
    for source in sources:
        side = 1 if source > target else -1
        lines += f'<circle cx="{source}" cy="{y}" r="3.5" style="fill: {INK}"/>'
        if source == target:
            lines += f'<path d="M{source} {y}h22v12h-22" style="fill: none; stroke: {INK}; stroke-width: 1.5"/>'
            lines += f'<path d="M{target} {y + 12}l9 -4v8z" style="fill: {INK}"/>'
        else:
            if source in (min(sources), max(sources)):  # sources between lie on the line of the outermost
                lines += f'<path d="M{source} {y}H{target + 6 * side}" style="stroke: {INK}; stroke-width: 1.5"/>'
            lines += f'<path d="M{target} {y}l{9 * side} -4v8z" style="fill: {INK}"/>'
    if set(sources) == {target}:
        middle, anchor = target + 30, "start"
    title = (
        f"<title>{escape(', '.join(_sources(edge)))} -&gt; {escape(text(edge.get('target')))}: {escape(above)}</title>"
    )
    heights = (y + 4, y + 19) if anchor == "start" else (y - 8, y + 16)
    words = _text(middle, heights[0], _fit(above, room), anchor=anchor, halo=True)
    words += _text(middle, heights[1], _fit(below, room, 11), size=11, anchor=anchor, halo=True)
    return f"<g>{title}{lines}{words}</g>"


def _text(
    x: float, y: float, words: str, *, size: int = 13, weight: str = "400", anchor: str = "middle", halo: bool = False
) -> str:
    edge = f"; stroke: {PAPER}; stroke-width: 4; stroke-linejoin: round; paint-order: stroke" if halo else ""
    style = f"fill: {INK}; font-size: {size}px; font-weight: {weight}{edge}"
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'
