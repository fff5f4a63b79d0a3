"""Figures of what went on inside of the trainings: shares of the gradient, who is right, matrices of who tells whom."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mentorch.reports._diagnosis import COMBINATIONS, arrow
from mentorch.reports._format import shorten, slug
from mentorch.reports._looks import MANY, Look, Looks, accuracy_in
from mentorch.reports._plot import INK, SCALE, Picture, paint, save, stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHOSEN = 6  # pictures of a kind: what fits on a page without tiring
CELL = 0.52  # inches
Matrix = list[list[float | None]]


def inside(found: Sequence[Looks], prefix: str = "") -> list[Picture]:
    """All of them: the first few of each kind that is drawn per method, and a matrix for every social graph."""
    plain = [looks for looks in found if not _is_crowd(looks)]
    gradients = [p for i, looks in enumerate(plain) for p in _gradients(looks, f"{prefix}gradient-{i + 1}")]
    right = [p for i, looks in enumerate(plain) for p in _right(looks, f"{prefix}right-{i + 1}")]
    matrices = [
        _matrix(looks, f"{prefix}matrix-{i + 1}") for i, looks in enumerate(found) if len(looks.plan.learning) > 2
    ]
    return [*gradients[:CHOSEN], *right[:CHOSEN], *(m for m in matrices if m is not None)]


def _is_crowd(looks: Looks) -> bool:
    return len(looks.edges) > MANY


def _gradients(looks: Looks, name: str) -> list[Picture]:
    """For each node with several edges, the share of each in the norms of their gradients; the first seed."""
    pictures = []
    targets = dict.fromkeys(link.target for link in looks.edges)
    for i, target in enumerate(targets):
        into = [link for link in looks.edges if link.target == target]
        ends = [arrow(link) for link in into]
        titles = [end if ends.count(end) == 1 else link.name for end, link in zip(ends, into, strict=True)]
        courses = [_course(looks.first, "edges", link.name, "share") for link in into]
        shares = dict(zip(titles, courses, strict=True))
        caption = looks.method if len(targets) == 1 else f"{looks.method}, into {target}"
        label = f"Shares of the gradient of {caption} against epochs"
        stem = f"{name}-{i + 1}-{slug(looks.method)}"
        pictures.append(stack("gradients", stem, label, caption, shares, "share of the gradient %"))
    return [picture for picture in pictures if picture is not None]


def _right(looks: Looks, name: str) -> list[Picture]:
    """For each pair, who is right; the first seed."""
    pictures = []
    for i, (source, target) in enumerate(looks.pairs):
        titles = ("both are right", f"only {source}", f"only {target}", "neither")
        parts = {
            title: _course(looks.first, "pairs", source, target, combination)
            for title, combination in zip(titles, COMBINATIONS, strict=True)
        }
        caption = looks.method if len(looks.pairs) == 1 else f"{looks.method}: {source} and {target}"
        label = f"Who is right of {source} and {target} in {looks.method}, against epochs"
        stem = f"{name}-{i + 1}-{slug(looks.method)}"
        pictures.append(stack("right", stem, label, caption, parts, "validation images %"))
    return [picture for picture in pictures if picture is not None]


def _matrix(looks: Looks, name: str) -> Picture | None:
    """Receivers and senders at the start, in the middle and at the end: shares of the gradient, and agreement."""
    seen = looks.first
    epochs = sorted(seen)
    chosen = sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]})
    nodes = list(looks.plan.nodes)
    told = {"share of the gradient": _share, "agreement": _agreement}
    rows = {title: [read(looks, seen[epoch], nodes) for epoch in chosen] for title, read in told.items()}
    rows = {
        title: found for title, found in rows.items() if any(v is not None for m in found for line in m for v in line)
    }
    if not rows:
        return None
    side = CELL * len(nodes)

    def fill(figure: "Figure") -> None:
        panels = figure.subplots(len(rows), len(chosen), squeeze=False)
        for (title, matrices), line in zip(rows.items(), panels, strict=True):
            for epoch, matrix, axes in zip(chosen, matrices, line, strict=True):
                _heat(axes, matrix, nodes, first=axes is line[0])
                axes.set_title(f"{title}, epoch {epoch:g}", fontsize=9, loc="left")

    label = f"Who tells whom in {looks.method}: receivers by senders, over training"
    size = (len(chosen) * (side + 0.25) + 1.4, len(rows) * (side + 0.75) + 0.2)
    return save("matrix", f"{name}-{slug(looks.method)}", label, looks.method, size, fill)


def _share(looks: Looks, look: Look, nodes: list[str]) -> Matrix:
    """What of its gradient a receiver (row) owes to each sender (column); the diagonal: to the labels."""

    def cell(receiver: str, sender: str) -> float | None:
        values = [look.get(("edges", link.name, "share")) for link in looks.plan.between(sender, receiver)]
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return [[cell(receiver, sender) for sender in nodes] for receiver in nodes]


def _agreement(looks: Looks, look: Look, nodes: list[str]) -> Matrix:
    """How often two nodes name the same class; the diagonal: how often a node names that of the labels."""

    def cell(receiver: str, sender: str) -> float | None:
        if receiver == sender:
            return accuracy_in(look, receiver)
        found = (look.get(("pairs", *ends, "agreement")) for ends in ((sender, receiver), (receiver, sender)))
        return next((value for value in found if value is not None), None)

    return [[cell(receiver, sender) for sender in nodes] for receiver in nodes]


def _heat(axes: "Axes", matrix: Matrix, nodes: list[str], *, first: bool) -> None:
    """Cells with their numbers, so that nobody depends on the colours."""
    from matplotlib.patches import Rectangle

    n = len(nodes)
    for i, line in enumerate(matrix):
        for j, value in enumerate(line):
            colour, ink = paint(value) if value is not None else ("none", INK)
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor=SCALE[0], linewidth=0.8))
            words = "" if value is None else f"{100 * value:.0f}"
            axes.text(j + 0.5, i + 0.53, words, ha="center", va="center", color=ink, fontsize=9)
    names = [shorten(name, 12) for name in nodes]
    axes.set(xlim=(0, n), ylim=(n, 0), aspect="equal")
    axes.set_xticks([i + 0.5 for i in range(n)], names, fontsize=8, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks([i + 0.5 for i in range(n)], names if first else [], fontsize=8)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _course(seen: dict[float, Look], *keys: str) -> dict[float, float]:
    return {epoch: look[keys] for epoch, look in seen.items() if keys in look}
