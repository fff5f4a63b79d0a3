"""Figures over epochs: what was validated, and which loss terms made the sum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mentorch.reports._format import dig, number, slug
from mentorch.reports._looks import MANY
from mentorch.reports._plot import INK, Picture, line_style, plot, stack, whole_epochs
from mentorch.reports._read import Run

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

CURVES = {"accuracy": "accuracy %", "cross_entropy": "cross-entropy", "knn": "kNN accuracy %"}


def curves(run: Run, prefix: str = "") -> list[Picture]:
    """Validation measures of every method against epochs, one figure per measure that was recorded."""
    return [picture for metric in CURVES if (picture := _curve(run, metric, prefix)) is not None]


def _curve(run: Run, metric: str, prefix: str) -> Picture | None:
    # an untrained classifier has no accuracy worth a line; its kNN accuracy has
    shown = [(i, group) for i, group in enumerate(run.study.groups) if metric == "knn" or group.classifies]
    lines = [(i, group, over_seeds(run.history(group), "validation", group.node, metric)) for i, group in shown]
    lines = [(i, group, line) for i, group, line in lines if line]
    if not lines:
        return None
    scale = 1.0 if metric == "cross_entropy" else 100.0
    teacher, split = _teacher(run, metric)

    def draw(axes: "Axes") -> dict[str, "Artist"]:
        legend: dict[str, Artist] = {}
        for i, group, line in lines:
            epochs, values = list(line), [[scale * value for value in seeds] for seeds in line.values()]
            style = line_style(i) | {"markevery": max(1, len(epochs) // 8), "markersize": 4.5}
            (legend[group.label],) = axes.plot(epochs, [sum(v) / len(v) for v in values], linewidth=1.6, **style)
            axes.fill_between(
                epochs, list(map(min, values)), list(map(max, values)), color=style["color"], alpha=0.15, lw=0
            )
        if teacher is not None:
            name = "teacher" if split == "validation" else f"teacher ({split})"
            low, high = axes.get_ylim()
            room = 0.05 * (high - low)
            axes.set_ylim(min(low, scale * teacher - room), max(high, scale * teacher + room))
            legend[name] = axes.axhline(scale * teacher, color=INK, linestyle=(0, (9, 4)), linewidth=1.2)
        whole_epochs(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {CURVES[metric]}")
        return legend

    left_out = [group.label for group in run.study.groups if metric != "knn" and not group.classifies]
    note = f" Not shown, because no loss trains its classifier: {', '.join(left_out)}." if left_out else ""
    caption = f"Line: mean over the seeds that reached the epoch; band: lowest to highest seed.{note}"
    label = f"Validation {CURVES[metric].removesuffix(' %')} against epochs"
    return plot("curves", f"{prefix}{metric.replace('_', '-')}", label, caption, draw)


def over_seeds(histories: Sequence[list[dict[str, Any]]], *keys: str) -> dict[float, list[float]]:
    """Epoch -> the finite values that the seeds recorded there under ``keys``, in order of epochs."""
    found: dict[float, list[float]] = {}
    for history in histories:
        for entry in history:
            value = number(dig(entry, *keys))
            if value is not None:
                found.setdefault(entry["epoch"], []).append(value)
    return dict(sorted(found.items()))


def _teacher(run: Run, metric: str) -> tuple[float | None, str]:
    """The teacher's value and the split it was measured on: validation where known."""
    found = {split: number(dig(run.study.results, "teacher", split, metric)) for split in ("validation", "test")}
    split = "test" if found["validation"] is None else "validation"
    return found[split], split


def shares(run: Run, prefix: str = "") -> list[Picture]:
    """For each method with several loss terms, the share of every edge's in their sum, against epochs."""
    methods = {group.method: group for group in run.study.groups}
    pictures = []
    for i, (method, group) in enumerate(methods.items()):
        picture = _share(method, run.history(group), f"{prefix}loss-{i + 1}-{slug(method)}")
        pictures += [picture] if picture is not None else []
    return pictures


def _share(method: str, histories: list[list[dict[str, Any]]], name: str) -> Picture | None:
    found = [dig(entry, "train", "edges") for history in histories for entry in history]
    edges = dict.fromkeys(edge for terms in found if isinstance(terms, dict) for edge in terms)
    if len(edges) > MANY:  # a crowd of stripes tells nothing
        return None
    means = {edge: over_seeds(histories, "train", "edges", edge) for edge in edges}
    sizes = {e: {epoch: sum(map(abs, v)) / len(v) for epoch, v in values.items()} for e, values in means.items()}
    label = f"Shares of the loss terms of {method} against epochs"
    return stack("terms", name, label, method, sizes, "share of the loss %")
