"""What the command line shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def show_table(rows: Sequence[Mapping[str, str]], title: str = "") -> None:
    """Rows of one and the same columns, the first one left-aligned."""
    if not rows:
        return
    table = Table(title=title or None, title_justify="left")
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(row.get(name, "") for name in rows[0]))
    out.print(table)


def say(text: str) -> None:
    """A line on standard error: for people, not for pipes."""
    err.print(text, markup=False)


def row_line(row: Mapping[str, Any]) -> str:
    """One finished run in one line."""
    head = f"{row['method']}, seed {row['seed']}"
    if "error" in row:
        return f"{head}: failed: {row['error']}"
    best = row["validation"]["best"]["accuracy"]
    test = row["test"]["best"]["accuracy"]
    epochs = f"{row['epochs']} epochs" + (f", stopped: {row['stopped']}" if row.get("stopped") else "")
    return f"{head}: validation {best:.2%}, test {test:.2%}  ({epochs}; {row['seconds']:.1f} s)"
