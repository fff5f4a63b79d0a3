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
WIDE, HIGH = 4.8, 2.75  # inches: with a font of 10 points readable on a phone and not clumsy on a desk
DASHES = ("-", (0, (6, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Picture:
    """A figure: its kind (curves, terms, size or graph), file stem, what it shows in a few words, and a caption."""

    kind: str
    name: str
    label: str
    caption: str
    svg: str
    png: bytes | None = None

    def inline(self) -> str:
        """The SVG as part of a page: takes the page's colours and font, and leaves the page's ids alone."""
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        head, rest = body.split(">", 1)
        box = re.search(r'viewBox="[^"]*"', head)
        style = re.search(r' style="[^"]*"', head)
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
        rest = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", rest)
        for colour, variable in ((INK, "ink"), (RULE, "rule"), (PAPER, "page")):
            rest = rest.replace(f": {colour}", f": var(--{variable})")
        start = f'<svg {box[0] if box else ""}{style[0] if style else ""} role="img" aria-label="{escape(self.label)}">'
        return start + rest


def line_style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th method, so that no two of 84 look alike, also in grey; the first is ink."""
    colour = INK if index == 0 else COLOURS[(index - 1) % len(COLOURS)]
    return {"color": colour, "linestyle": DASHES[index % len(DASHES)], "marker": MARKERS[index % len(MARKERS)]}


def plot(kind: str, name: str, label: str, caption: str, draw: Callable[["Axes"], dict[str, "Artist"]]) -> Picture:
    """Let ``draw`` fill a pair of axes and return the legend, and save the figure as SVG and PNG.

    The same data give the same bytes: ids are salted with ``name``, and no date is written.
    """
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
        figure = Figure(figsize=(WIDE, HIGH), layout="constrained")
        legend = draw(figure.add_subplot())
        _legend(figure, legend)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(kind, name, label, caption, svg.getvalue().decode(), png.getvalue())


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
