"""The map of a zoo as one picture: where networks lie, and how they join."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch._files import write_atomic
from mentorch.reports._atlas_page import read_atlas
from mentorch.reports._format import shorten, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2f6fde", "#e0642b", "#16976a", "#a24fd0", "#b98a06", "#d1447a", "#1797ab", "#8a5a3c", "#6a7686", "#7f9c1c")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
OTHER = "#b4bcc5"
_STRIPS = (("dataset", "data"), ("network", "architecture"), ("task", "task"))


def write_atlas_picture(folder: Path) -> Path:
    """Write ``atlas.png``: the map, coloured by data set and marked by architecture; beside it the dendrogram.

    Raises:
        RunError: if the files of the atlas cannot be read, or the folder cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    record = read_atlas(folder).record
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(12.5, 6.0), layout="constrained", facecolor="white")
        panels = figure.subplot_mosaic([["map", "tree"], ["map", "strips"]], height_ratios=[9, 1.4])
        _map(panels["map"], record)
        _tree(panels["tree"], record)
        _strips(panels["strips"], record)
        write_atomic(folder / "atlas.png", lambda temporary: figure.savefig(temporary, format="png", dpi=130))
    return folder / "atlas.png"


def _map(axes: "Axes", record: dict[str, Any]) -> None:
    networks = record["networks"]
    size = max(4.0, min(34.0, 9000 / max(1, len(networks))))
    lines = [
        [(networks[link[end]]["x"], -networks[link[end]]["y"]) for end in ("source", "target")]
        for link in record["links"]
    ]
    _segments(axes, lines)
    data, kinds = _numbered(networks, "dataset"), _numbered(networks, "network")
    for value, n in data.items():
        for kind, m in kinds.items():
            chosen = [one for one in networks if _value(one, "dataset") == value and _value(one, "network") == kind]
            places = [one["x"] for one in chosen], [-one["y"] for one in chosen]
            axes.scatter(
                *places, s=size, c=_colour(n), marker=MARKERS[m % 7], linewidths=0.4, edgecolors="white", zorder=2
            )
    for value, n in list(data.items())[: len(COLOURS)]:
        axes.scatter([], [], s=40, c=_colour(n), label=shorten(text(value), 24))
    for kind, m in list(kinds.items())[: len(MARKERS)]:
        axes.scatter([], [], s=36, c="#5c6670", marker=MARKERS[m], label=shorten(text(kind), 24))
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4, frameon=False, fontsize=8.5, handletextpad=0.2
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.axis("off")


def _segments(axes: "Axes", lines: list[Any]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(lines, colors="#1b1f24", linewidths=0.4, alpha=0.16, zorder=1))


def _tree(axes: "Axes", record: dict[str, Any]) -> None:
    """Brackets over the leaves in the order of the tree, at the distance where two groups join."""
    from matplotlib.collections import LineCollection

    count, merges = len(record["networks"]), record["tree"]["merges"]
    heights = [height for *_, height, _ in merges] or [0.0, 1.0]
    spread = max(heights) - min(heights)
    bottom = min(heights) - 0.06 * spread if spread else 0.0
    x = {leaf: float(i) for i, leaf in enumerate(record["tree"]["order"])}
    y = dict.fromkeys(x, bottom)
    lines = []
    for i, (a, b, height, _) in enumerate(merges):
        lines.append([(x[a], y[a]), (x[a], height), (x[b], height), (x[b], y[b])])
        x[count + i], y[count + i] = (x[a] + x[b]) / 2, height
    axes.add_collection(LineCollection(lines, colors="#3a424b", linewidths=0.6))
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(bottom, max(heights) + 0.03 * (max(heights) - bottom) + 1e-9)
    axes.set_xticks([])
    axes.set_ylabel("mean distance where groups join")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _strips(axes: "Axes", record: dict[str, Any]) -> None:
    """Below the leaves: data set, architecture and task of each, each in colours of its own legend."""
    from matplotlib.colors import to_rgb

    networks, order = record["networks"], record["tree"]["order"]
    rows = []
    for fact, _ in _STRIPS:
        numbers = _numbered(networks, fact)
        rows.append([to_rgb(_colour(numbers[_value(networks[leaf], fact)])) for leaf in order])
    axes.imshow(rows, aspect="auto", interpolation="nearest", extent=(-0.5, len(order) - 0.5, len(rows), 0))
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_yticks([i + 0.5 for i in range(len(_STRIPS))], [label for _, label in _STRIPS])
    axes.set_xticks([])
    axes.tick_params(length=0)
    for fact, label in _STRIPS[1:]:
        for value, n in list(_numbered(networks, fact).items())[:5]:
            axes.scatter([], [], s=28, marker="s", c=_colour(n), label=f"{shorten(text(value), 20)} ({label})")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=4, frameon=False, fontsize=7.5, handletextpad=0.2
    )
    for spine in axes.spines.values():
        spine.set_visible(False)


def _value(network: dict[str, Any], fact: str) -> str:
    return str(network.get(fact, "not known"))


def _numbered(networks: list[dict[str, Any]], fact: str) -> dict[str, int]:
    """Values of a fact, the most frequent first, as the page has them."""
    counts = Counter(_value(network, fact) for network in networks)
    return {value: n for n, (value, _) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0])))}


def _colour(n: int) -> str:
    return COLOURS[n] if n < len(COLOURS) else OTHER
