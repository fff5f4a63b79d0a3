"""Generations of one network: the dense and the slim one after each, as a table and as a figure."""

from typing import TYPE_CHECKING

from mentorch.reports._format import MISSING, count, number
from mentorch.reports._plot import INK, Picture, line_style, plot, whole_epochs
from mentorch.reports._study import Group, Study, interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

CAPTION = "Mean over the seeds; band: lowest to highest seed. The line across is a single training of as many epochs."


def generations(study: Study) -> list[dict[str, str]]:
    """One row per generation: what was spent until then, and accuracies with their 95 % interval over the seeds."""
    found = {slim: _by_number(study, slim=slim) for slim in (False, True)}
    rows = []
    for number_, group in found[False].items():
        row = {"generation": str(number_), "trained samples": count(group.mean("trained_samples"))}
        for slim, name in ((False, "dense"), (True, "slim")):
            if found[slim]:
                own = found[slim].get(number_)
                value = study.accuracy(own, study.which) if own else None
                row[f"{name}, {study.split} accuracy %"] = value.show(study.digits, 100) if value else MISSING
        rows.append(row)
    return rows


def generations_figure(study: Study, prefix: str = "") -> Picture | None:
    """Accuracy of the dense and of the slim network against generations; None where there are none."""
    lines = {name: _values(study, slim=slim) for name, slim in (("dense", False), ("slim", True))}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return None
    alone = study.accuracy(study.baseline, study.which) if study.baseline else None

    def draw(axes: "Axes") -> dict[str, "Artist"]:
        legend: dict[str, Artist] = {}
        for i, (name, line) in enumerate(lines.items(), start=1):
            numbers, values = list(line), [[100 * value for value in seeds] for seeds in line.values()]
            style = line_style(i)
            (legend[name],) = axes.plot(numbers, [sum(v) / len(v) for v in values], linewidth=1.6, **style)
            axes.fill_between(
                numbers, list(map(min, values)), list(map(max, values)), color=style["color"], alpha=0.15, lw=0
            )
        if alone is not None:
            mean = 100 * alone.mean
            legend[study.against] = axes.axhline(mean, color=INK, linestyle=(0, (9, 4)), linewidth=1.2)
        whole_epochs(axes)
        axes.set_xlabel("generation")
        axes.set_ylabel(f"{study.split} accuracy %")
        return legend

    caption = CAPTION if alone is not None else CAPTION.partition(" The line")[0]
    label = f"{study.split.capitalize()} accuracy of the dense and the slim network against generations"
    return plot("generations", f"{prefix}generations", label, caption, draw)


def _by_number(study: Study, *, slim: bool) -> dict[int, Group]:
    """Generation -> its rows, in order; without those that failed."""
    found: dict[int, Group] = {}
    for group in study.groups:
        row = next((row for row in group.rows if not row.get("error")), {})
        value = number(row.get("generation"))
        if value is not None and bool(row.get("slim")) == slim:
            found[int(value)] = group
    return dict(sorted(found.items()))


def _values(study: Study, *, slim: bool) -> dict[int, list[float]]:
    accuracies = {
        n: list(group.values(study.split, study.which, "accuracy").values())
        for n, group in _by_number(study, slim=slim).items()
    }
    return {n: values for n, values in accuracies.items() if interval(values) is not None}
