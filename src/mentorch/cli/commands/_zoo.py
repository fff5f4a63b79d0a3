"""``mentorch zoo``."""

from pathlib import Path
from typing import Annotated

import typer

from mentorch.cli._options import new_app

app = new_app("Networks: known by name, and kept in folders with their cards.")


@app.command()
def networks(
    num_classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 10,
    size: Annotated[int, typer.Option("--size", help="Side of the images.")] = 32,
) -> None:
    """Networks known by name, with parameters and multiply-adds."""
    from mentorch.cli import _zoo

    _zoo.show_networks(num_classes, size)


@app.command("list")
def list_(root: Annotated[Path, typer.Argument(help="A folder of cards.")] = Path("runs")) -> None:
    """Networks kept in a folder."""
    from mentorch.cli import _zoo

    _zoo.show_cards(root)


@app.command()
def info(folder: Annotated[Path, typer.Argument(help="A folder with a card.")]) -> None:
    """One network's card; its weights are checked against it."""
    from mentorch.cli import _zoo

    _zoo.show_card(folder)
