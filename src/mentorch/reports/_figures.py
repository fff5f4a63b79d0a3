"""The figures of a run: those over epochs, accuracy against size, and the graphs."""

import math
from typing import TYPE_CHECKING

from mentorch.reports._curves import curves, shares
from mentorch.reports._draw import graph_svg
from mentorch.reports._format import dig, number, slug
from mentorch.reports._plot import INK, Picture, line_style, plot, size_axis
from mentorch.reports._read import Run
from mentorch.reports._study import interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def pictures(run: Run, prefix: str = "") -> list[Picture]:
    """Every figure of a run, in the order of the page."""
    size = sizes(run, prefix)
    return [*curves(run, prefix), *shares(run, prefix), *([size] if size else []), *_graphs(run, prefix)]


def sizes(run: Run, prefix: str = "") -> Picture | None:
    """Accuracy against parameters: every method and the teacher."""
    study = run.study
    points = []
    for i, group in enumerate(study.groups):
        accuracy = study.accuracy(group, study.which)
        parameters = group.mean("parameters") or number(dig(study.results, "student", "parameters"))
        if accuracy is not None and parameters and group.classifies:
            points.append((i, group.label, parameters, accuracy))
    teacher = [number(dig(study.results, "teacher", *keys)) for keys in (("parameters",), (study.split, "accuracy"))]
    if teacher[0] and teacher[1] is not None and (value := interval([teacher[1]])) is not None:
        points.append((-1, "teacher", teacher[0], value))
    if not points:
        return None

    def draw(axes: "Axes") -> dict[str, "Artist"]:
        legend: dict[str, Artist] = {}
        widest = math.log(max(p[2] for p in points) / min(p[2] for p in points)) or 1.0
        for i, label, parameters, accuracy in points:
            row = [j for j, _, other, _ in points if other == parameters]
            shift = (row.index(i) - (len(row) - 1) / 2) * 0.03 * widest  # equal sizes stand side by side
            style = {"color": INK, "marker": "*", "markersize": 11} if i < 0 else line_style(i) | {"linestyle": "none"}
            x, y = parameters * math.exp(shift), 100 * accuracy.mean
            if accuracy.low is not None and accuracy.high is not None:
                axes.vlines(x, 100 * accuracy.low, 100 * accuracy.high, color=style["color"], linewidth=1.2)
            (legend[label],) = axes.plot([x], [y], **(style | {"linestyle": "none"}))
        size_axis(axes, [point[2] for point in points])
        axes.margins(x=0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))
        axes.set(xlabel="parameters", ylabel=f"{study.split} accuracy %")
        return legend

    caption = "Bars: 95 % interval over seeds. Networks of equal size stand side by side."
    return plot(
        "size", f"{prefix}accuracy-parameters", f"{study.split.title()} accuracy against parameters", caption, draw
    )


def _graphs(run: Run, prefix: str) -> list[Picture]:
    methods = {group.method: group.graph for group in run.study.groups if group.graph}
    return [
        Picture(
            "graph",
            f"{prefix}graph-{i + 1}-{slug(method)}",
            f"Knowledge transfer graph of {method}",
            method,
            graph_svg(graph),
        )
        for i, (method, graph) in enumerate(methods.items())
        if graph
    ]
