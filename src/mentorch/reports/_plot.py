"""Drawing with matplotlib so that one figure serves the page (light or dark), the file and the printer."""

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mentorch.reports._format import amount, shorten, text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, RULE, PAPER = "#1f2328", "#d1d9e0", "#ffffff"
COLOURS = ("#2f7ed8", "#d9652b", "#2a9d6f", "#a35bd1", "#b8860b", "#d64f7f")  # 3:1 or more on white and on near-black
SCALE = ("#eaf1f9", "#17487f")  # of accuracies and shares, from the least to the most
WIDE, HIGH = 4.8, 2.75  # inches: with a font of 10 points readable on a phone and not clumsy on a desk
DASHES = ("-", (0, (6, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
HATCHES = ("", "///", "...", "xx", "\\\\\\", "---", "++", "oo")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Picture:
    """A figure: its kind (which section it belongs to), file stem, what it shows in a few words, and a caption.

    ``words`` say the same as plain text, where a drawing is worth that; ``natural`` pictures keep their size where
    there is room, the others take what the page gives them.
    """

    kind: str
    name: str
    label: str
    caption: str
    svg: str
    png: bytes | None = None
    words: str = ""
    natural: bool = False

    def inline(self) -> str:
        """The SVG as part of a page: takes the page's colours and font, and leaves the page's ids alone."""
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        head, rest = body.split(">", 1)
        box = re.search(r'viewBox="[^"]*"', head)
        style = re.search(r' style="[^"]*"', head)
        size = re.search(r'width="([\d.]+)pt"', head) if self.natural else None
        shown = (
            f' style="width: {float(size[1]):.0f}pt; max-width: 100%; min-width: {0.75 * float(size[1]):.0f}pt"'
            if size
            else ""
        )
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
        rest = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", rest)
        for colour, variable in ((INK, "ink"), (RULE, "rule"), (PAPER, "page")):
            rest = rest.replace(f": {colour}", f": var(--{variable})")
        start = (
            f'<svg {box[0] if box else ""}{style[0] if style else shown} role="img" aria-label="{escape(self.label)}">'
        )
        return start + rest


def line_style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th method, so that no two of 84 look alike, also in grey; the first is ink."""
    colour = INK if index == 0 else COLOURS[(index - 1) % len(COLOURS)]
    return {"color": colour, "linestyle": DASHES[index % len(DASHES)], "marker": MARKERS[index % len(MARKERS)]}


def plot(kind: str, name: str, label: str, caption: str, draw: Callable[["Axes"], dict[str, "Artist"]]) -> Picture:
    """Let ``draw`` fill a pair of axes and return the legend, and save the figure as SVG and PNG.

    The same data give the same bytes: ids are salted with ``name``, and no date is written.
    """

    def fill(figure: "Figure") -> None:
        _legend(figure, draw(figure.add_subplot()))

    return save(kind, name, label, caption, (WIDE, HIGH), fill)


def save(
    kind: str, name: str, label: str, caption: str, size: tuple[float, float], fill: Callable[["Figure"], None]
) -> Picture:
    """As :func:`plot`, for a figure of any size in inches that ``fill`` fills as it likes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "hatch.linewidth": 0.5,
    }
    style |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the built-in font lacks
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    natural = size != (WIDE, HIGH)
    return Picture(kind, name, label, caption, svg.getvalue().decode(), png.getvalue(), natural=natural)


def stack(
    kind: str,
    name: str,
    label: str,
    caption: str,
    parts: dict[str, dict[float, float]],
    y_label: str,
) -> Picture | None:
    """Parts of a whole against epochs as areas on each other, in percent of their sum.

    Args:
        kind, name, label, caption: of the picture.
        parts: what is drawn, from below: name -> epoch -> size; missing is nothing.
        y_label: of the sum.

    Returns:
        The picture; None where there is nothing to share, or nobody to share it with.
    """
    epochs = sorted({epoch for values in parts.values() for epoch in values})
    totals = {epoch: sum(abs(values.get(epoch, 0.0)) for values in parts.values()) for epoch in epochs}
    epochs = [epoch for epoch in epochs if totals[epoch] > 0]
    if not epochs or len(parts) < 2:
        return None
    heights = [[100 * abs(values.get(epoch, 0.0)) / totals[epoch] for epoch in epochs] for values in parts.values()]
    if len(epochs) == 1:  # an area needs two ends
        epochs, heights = [epochs[0] - 0.5, epochs[0] + 0.5], [row * 2 for row in heights]

    def draw(axes: "Axes") -> dict[str, "Artist"]:
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(heights))]
        areas = axes.stackplot(epochs, heights, colors=colours, alpha=0.75, linewidth=0)
        for area, hatch in zip(areas, HATCHES * len(areas), strict=False):
            area.set(hatch=hatch, edgecolor=INK)
        axes.set(xlabel="epoch", ylabel=y_label, ylim=(0, 100), xlim=(epochs[0], epochs[-1]))
        whole_epochs(axes)
        return {text(part): area for part, area in zip(parts, areas, strict=True)}

    return plot(kind, name, label, caption, draw)


def paint(value: float) -> tuple[str, str]:
    """The colour of a value in [0, 1], and that of text on it; the same on a light and on a dark page.

    >>> paint(0.0), paint(1.0)
    (('#eaf1f9', '#111111'), ('#17487f', '#fefefe'))
    """
    share = min(max(value, 0.0), 1.0)
    ends = ([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in SCALE)
    mixed = [round(low + (high - low) * share) for low, high in zip(*ends, strict=True)]
    return f"#{bytes(mixed).hex()}", "#111111" if share < 0.7 else "#fefefe"


def whole_epochs(axes: "Axes") -> None:
    """Tick whole numbers only along the epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def size_axis(axes: "Axes", sizes: Sequence[float]) -> None:
    """A logarithmic axis with ticks at ``sizes`` themselves, except where they would run into each other."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    room = 0.14 * math.log(max(sizes) / min(sizes))
    ticks: list[float] = []
    for size in sorted(set(sizes)):
        if not ticks or math.log(size / ticks[-1]) > room:
            ticks.append(size)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([amount(size) for size in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: "Figure", legend: dict[str, "Artist"]) -> None:
    if not legend:
        return
    # a name that begins with an underscore would be left out of a legend: a thin space saves it
    names = [("\u2009" + name if name.startswith("_") else name) for name in (shorten(text(n), 44) for n in legend)]
    longest = max(len(name) for name in names)
    columns = min(len(names), 4 if longest <= 8 else 3 if longest <= 13 else 2 if longest <= 22 else 1)
    rows = -(-len(names) // columns)
    figure.set_figheight(HIGH + 0.2 * rows)
    figure.legend(
        list(legend.values()),
        names,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=3.2,
        columnspacing=1.2,
    )
