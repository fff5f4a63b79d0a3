"""What the command line shows."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)


def show_table(rows: Sequence[Mapping[str, str]], title: str = "") -> None:
    """Rows of one and the same columns; where the terminal is too narrow, the last columns are left to the report."""
    if not rows:
        return
    names = list(rows[0])
    while len(names) > 3 and not _fits(rows, names):
        names.pop()
    out.print(_table(rows, names, title))
    if len(names) < len(rows[0]):
        err.print(f"(a wider terminal also shows {', '.join(list(rows[0])[len(names) :])})", markup=False)


def _fits(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> bool:
    return sum(_widest(rows, name) + 3 for name in names) + 2 <= out.width


def _table(rows: Sequence[Mapping[str, str]], names: Sequence[str], title: str) -> Table:
    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD)
    fits = _fits(rows, names)
    for name in names:
        words = all(not cell[:1].isdigit() for row in rows if (cell := row.get(name, "")) not in ("", "\u2013"))
        width = _widest(rows, name) if fits or name == names[0] else None  # the others share what is left
        table.add_column(
            escape(name), justify="left" if words else "right", width=width, no_wrap=not fits and name == names[0]
        )
    for row in rows:
        table.add_row(*(escape(row.get(name, "")) for name in names))
    return table


def _widest(rows: Sequence[Mapping[str, str]], name: str) -> int:
    """The width that a column needs: its cells stay on one line up to a point, and no word is broken."""
    cells = [row.get(name, "") for row in rows]
    words = (len(word) for cell in (name, *cells) for word in cell.split())
    return max(min(max(map(len, cells)), 40), *words)


def say(text: str) -> None:
    """A line on standard error: for people, not for pipes."""
    err.print(text, markup=False, soft_wrap=True)


def row_line(row: Mapping[str, Any]) -> str:
    """One finished run in one line."""
    head = f"{row['method']}, seed {row['seed']}"
    if "error" in row:
        return f"{head}: failed: {row['error']}"
    best = row["validation"]["best"]["accuracy"]
    test = row["test"]["best"]["accuracy"]
    epochs = f"{row['epochs']} epochs" + (f", stopped: {row['stopped']}" if row.get("stopped") else "")
    return f"{head}: validation {best:.2%}, test {test:.2%}  ({epochs}; {row['seconds']:.1f} s)"
