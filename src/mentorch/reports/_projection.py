"""Where student and teachers put the same images, in two dimensions, and in numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch.reports._alignment import SEED, Vectors, aligned, project, unit_rows
from mentorch.reports._format import shorten, text
from mentorch.reports._plot import INK, PAPER, Picture, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

CLASSES = ("#2f7ed8", "#d9652b", "#2a9d6f", "#a35bd1", "#b8860b", "#d64f7f", "#17a2b8", "#7a5c3e", "#6b7280", "#8aa329")
"""Colours of classes; of more classes so many are shown, evenly spaced."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X")  # the student's first, filled; the teachers' are hollow
PANEL = 2.6  # inches


def projections(folder: Path, notes: list[str], prefix: str = "") -> list[Picture]:
    """Two pictures for each ``spaces/NAME.safetensors`` of a run: the common space, and everybody's own features.

    Such a file holds ``common.NETWORK`` and ``features.NETWORK``, ``[N, D]``, the ``labels`` ``[N]``, and the names of
    the classes as JSON in its metadata. What cannot be read is said in ``notes``.
    """
    pictures = []
    for path in sorted((folder / "spaces").glob("*.safetensors")):
        try:
            spaces, labels, classes = _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"spaces/{path.name}: cannot be read ({text(error)})")
            continue
        name = f"{prefix}space-{path.stem}"
        pictures.append(together(spaces["common"], labels, classes, name=f"{name}-common", of=path.stem))
        pictures.append(side_by_side(spaces["features"], labels, classes, name=f"{name}-features", of=path.stem))
    return pictures


def together(vectors: Vectors, labels: "Tensor", classes: Sequence[str], *, name: str, of: str) -> Picture:
    """All networks in the space that they share: principal components and t-SNE of all vectors jointly.

    Args:
        vectors: of one width.
        labels: shape ``[N]``.
        classes: their names.
        name: of the picture's file.
        of: what is shown, for its label.
    """
    import torch

    shown = _shown(labels)
    rows = [unit_rows(x[_among(labels, shown)]) for x in vectors.values()]
    own = labels[_among(labels, shown)]
    planes = {"principal components": project(torch.cat(rows), "pca"), "t-SNE": project(torch.cat(rows), "tsne")}

    def fill(figure: "Figure") -> None:
        for axes, (title, plane) in zip(_panels(figure, len(planes)), planes.items(), strict=True):
            for i, part in enumerate(plane.view(len(vectors), len(own), 2)):
                _scatter(axes, part, own, shown, i)
            axes.set_title(title, fontsize=10)
        _legend(figure, list(vectors), [classes[k] for k in shown])

    told = aligned(vectors)
    caption = f"{len(own)} test images, every network's vectors projected together, seed {SEED}. {_sentence(told)}"
    size = _size(list(vectors), [classes[k] for k in shown], 2)
    picture = save("space", name, f"Common space of {of}", caption, size, fill)
    return _with_words(picture, told)


def side_by_side(vectors: Vectors, labels: "Tensor", classes: Sequence[str], *, name: str, of: str) -> Picture:
    """Every network in its own features, whose widths may differ: one t-SNE each."""
    shown = _shown(labels)
    rows = _among(labels, shown)
    planes = {network: project(unit_rows(x[rows]), "tsne") for network, x in vectors.items()}

    def fill(figure: "Figure") -> None:
        for i, (axes, (network, plane)) in enumerate(zip(_panels(figure, len(planes)), planes.items(), strict=True)):
            _scatter(axes, plane, labels[rows], shown, i)
            axes.set_title(shorten(text(network), 20), fontsize=10)
        _legend(figure, list(vectors), [classes[k] for k in shown])

    told = aligned(vectors)
    caption = f"{int(rows.sum())} test images, t-SNE of each network by itself, seed {SEED}. {_sentence(told)}"
    size = _size(list(vectors), [classes[k] for k in shown], max(2, len(vectors)))
    return _with_words(save("space", name, f"Features of {of}", caption, size, fill), told)


def _read(path: Path) -> tuple[dict[str, dict[str, "Tensor"]], "Tensor", list[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            told = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    labels, classes = tensors.pop("labels"), json.loads(told["classes"])
    spaces: dict[str, dict[str, Tensor]] = {"common": {}, "features": {}}
    for key, value in tensors.items():
        space, _, network = key.partition(".")
        if value.ndim != 2 or len(value) != len(labels):
            raise ValueError(f"{key} has shape {list(value.shape)} for {len(labels)} labels")
        spaces[space][network] = value
    order = sorted(spaces["common"], key=lambda network: (network != "student", network))
    if len(order) < 2 or order[0] != "student" or set(order) != set(spaces["features"]) or len(labels) < 3:
        raise ValueError(f"it needs a student, a teacher and three images, found {', '.join(order) or 'nothing'}")
    if int(labels.max()) >= len(classes) or int(labels.min()) < 0:
        raise ValueError(f"label {int(labels.max())} has no name")
    return {space: {network: own[network] for network in order} for space, own in spaces.items()}, labels, classes


def _shown(labels: "Tensor") -> list[int]:
    present = sorted(set(labels.tolist()))
    count = min(len(present), len(CLASSES))
    return [present[i * len(present) // count] for i in range(count)]


def _among(labels: "Tensor", shown: Sequence[int]) -> "Tensor":
    import torch

    return torch.isin(labels, torch.tensor(shown))


def _panels(figure: "Figure", count: int) -> Sequence["Axes"]:
    found: Any = figure.subplots(1, count, squeeze=False)[0]
    for axes in found:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    return list(found)


def _scatter(axes: "Axes", plane: "Tensor", labels: "Tensor", shown: Sequence[int], network: int) -> None:
    for colour, k in zip(CLASSES, shown, strict=False):
        x, y = plane[labels == k].unbind(1)
        face = colour if network == 0 else "none"
        axes.scatter(
            x, y, s=14, marker=MARKERS[network % len(MARKERS)], facecolors=face, edgecolors=colour, linewidths=0.8
        )


def _legend(figure: "Figure", networks: Sequence[str], classes: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    def mark(marker: str, colour: str, face: str) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=face, markersize=6)

    entries = {
        _name(name): mark(MARKERS[i % len(MARKERS)], INK, INK if i == 0 else PAPER) for i, name in enumerate(networks)
    }
    entries |= {_name(c): mark("s", colour, colour) for c, colour in zip(classes, CLASSES, strict=False)}
    columns = _columns(list(entries), figure.get_figwidth())
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _name(name: str) -> str:
    return shorten(text(name), 20)


def _columns(names: Sequence[str], width: float) -> int:
    """How many columns of names fit beside each other in so many inches."""
    return max(1, min(4, int(width / (0.5 + 0.075 * max(map(len, names))))))


def _size(networks: Sequence[str], classes: Sequence[str], panels: int) -> tuple[float, float]:
    """Width and height of a picture in inches, the names below it included."""
    names = [_name(name) for name in (*networks, *classes)]
    rows = -(-len(names) // _columns(names, panels * PANEL))
    return panels * PANEL, PANEL + 0.25 + 0.2 * rows


def _sentence(told: Mapping[str, Mapping[str, float]]) -> str:
    parts = []
    for teacher, numbers in told.items():
        words = f"{100 * numbers['neighbours']:.0f} % of the nearest neighbours are the same"
        gap = f", MMD {numbers['mmd']:.3f}" if "mmd" in numbers else ""
        parts.append(f"student and {text(teacher)}: {words}{gap}")
    chance = next(iter(told.values()))["chance"]
    return f"{'; '.join(parts)} (by chance {100 * chance:.0f} %)."


def _with_words(picture: Picture, told: Mapping[str, Mapping[str, float]]) -> Picture:
    from dataclasses import replace

    lines = [f"{teacher}: {', '.join(f'{k} {v:.4f}' for k, v in own.items())}" for teacher, own in told.items()]
    return replace(picture, words="\n".join(map(text, lines)))
