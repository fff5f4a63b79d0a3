"""``mentorch data``."""

from pathlib import Path
from typing import Annotated

import typer

from mentorch.cli._options import new_app

app = new_app("Data sets: list, describe, fetch.")


@app.command("list")
def list_() -> None:
    """Data sets known by name, and where they are."""
    from mentorch.cli import _names

    _names.show_data()


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A name, or folder:PATH.")],
    data_root: Annotated[Path | None, typer.Option("--data-root", help="Where to look first.")] = None,
) -> None:
    """Read a data set, check it and describe it."""
    from mentorch.cli import _names

    _names.describe_data(name, data_root)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name.")],
    data_root: Annotated[Path | None, typer.Option("--data-root", help="Where to put it.")] = None,
) -> None:
    """Download a data set's standard archives, checked by checksum."""
    from mentorch.data import fetch

    typer.echo(fetch(name, data_root))
