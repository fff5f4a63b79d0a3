"""The figures of a run: those over epochs, accuracy against size, and the graphs."""

import math
from typing import TYPE_CHECKING

from mentorch.reports._curves import curves, shares
from mentorch.reports._draw import graph_svg, matrix_lines
from mentorch.reports._format import dig, number, slug
from mentorch.reports._generations import generations_figure
from mentorch.reports._inside import inside
from mentorch.reports._links import plan
from mentorch.reports._looks import Looks, accuracy_in, looks
from mentorch.reports._plot import INK, Picture, line_style, plot, size_axis
from mentorch.reports._predictions import predictions
from mentorch.reports._projection import projections
from mentorch.reports._read import Run
from mentorch.reports._study import Group, interval
from mentorch.reports._svg import Measured
from mentorch.reports._trials import drawings

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def pictures(run: Run, prefix: str = "") -> list[Picture]:
    """Every figure of a run, in the order of the page."""
    size, found = sizes(run, prefix), looks(run)
    ordered = [*drawings(run.folder, prefix)]
    ordered += [picture for picture in (generations_figure(run.study, prefix),) if picture is not None]
    ordered += [*curves(run, prefix), *shares(run, prefix), *inside(found, prefix)]
    ordered += projections(run.folder, run.notes, prefix)
    ordered += predictions(run.folder, [group.method for group in run.study.groups], run.notes, prefix)
    return [*ordered, *([size] if size else []), *_graphs(run, found, prefix)]


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


def _graphs(run: Run, found: list[Looks], prefix: str) -> list[Picture]:
    """The graph of each method, all on one scale of accuracies."""
    groups: dict[str, Group] = {}
    for group in run.study.groups:
        if group.graph:
            groups.setdefault(group.method, group)
    seen = {looks.method: looks for looks in found}
    known = {method: accuracies(run, group, seen.get(method)) for method, group in groups.items()}
    levels = [value for accuracy in known.values() for value in accuracy.values()]
    scale = (min(levels), max(levels)) if levels else (0.0, 1.0)
    pictures = []
    for i, (method, group) in enumerate(groups.items()):
        graph, looks = group.graph or {}, seen.get(method)
        names = [link.name for link in looks.edges] if looks else []
        shares = {name: share for name in names if looks and (share := looks.mean("edges", name, "share")) is not None}
        drawn, shape = graph_svg(graph, Measured(known[method], shares, *scale)), plan(graph)
        words = "\n".join(matrix_lines(shape)) if shape.social else ""
        label = f"Knowledge transfer graph of {method}"
        pictures.append(Picture("graph", f"{prefix}graph-{i + 1}-{slug(method)}", label, method, drawn, words=words))
    return pictures


def accuracies(run: Run, group: Group, looks: Looks | None) -> dict[str, float]:
    """Validation accuracy of each node of a method, mean over seeds, at the epoch that counts.

    Of the teacher as it was measured once; of other frozen nodes from the looks into the training.
    """
    shape = plan(group.graph)
    found: dict[str, list[float]] = {}
    for row in group.rows:
        epochs = run.histories.get(str(row.get("history"))) or []
        best = number(row.get("best_epoch")) if run.study.which == "best" else None
        chosen = next((entry for entry in epochs if entry["epoch"] == best), epochs[-1] if epochs else {})
        for name in shape.learning:
            value = number(dig(chosen, "validation", name, "accuracy"))
            if value is not None:
                found.setdefault(name, []).append(value)
    known = {name: sum(values) / len(values) for name, values in found.items()}
    teacher = number(dig(run.study.results, "teacher", "validation", "accuracy"))
    last = looks.first[max(looks.first)] if looks else {}
    for name in shape.nodes:
        value = teacher if name == "teacher" else accuracy_in(last, name)
        if name not in known and value is not None:
            known[name] = value
    return known
