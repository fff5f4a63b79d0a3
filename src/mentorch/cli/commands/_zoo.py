"""``mentorch zoo``."""

from pathlib import Path
from typing import Annotated

import typer

from mentorch.cli._options import new_app

app = new_app("Networks: known by name, and kept in folders with their cards.")

Trust = Annotated[bool, typer.Option("--trust", help="Import the packages that cards name as PACKAGE.MODULE:CALLABLE.")]


@app.command()
def networks(
    num_classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 10,
    size: Annotated[int, typer.Option("--size", help="Side of the images.")] = 32,
) -> None:
    """Networks known by name, with parameters and multiply-adds."""
    from mentorch.cli import _names

    _names.show_networks(num_classes, size)


@app.command("list")
def list_(root: Annotated[Path, typer.Argument(help="A folder of cards.")] = Path("runs")) -> None:
    """Networks kept in a folder; what cannot be used is named with its reason."""
    from mentorch.cli import _zoo

    _zoo.show_cards(root)


@app.command()
def check(root: Annotated[Path, typer.Argument(help="A folder of cards.")], *, trust: Trust = False) -> None:
    """Build every network of a folder and check its weights against its card."""
    from mentorch.cli import _zoo

    _zoo.check_cards(root, trust=trust)


@app.command()
def describe(folder: Annotated[Path, typer.Argument(help="A folder with a card.")], *, trust: Trust = False) -> None:
    """One network's card; its weights are checked against it."""
    from mentorch.cli import _zoo

    _zoo.show_card(folder, trust=trust)


@app.command()
def add(
    source: Annotated[
        str, typer.Argument(help="A folder with a card, a run folder, NAME:WEIGHTS, timm:NAME, hf:NAME, FILE.pt2.")
    ],
    root: Annotated[Path, typer.Argument(help="The zoo; made if it is not there.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="What it is called in the zoo.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="What it was trained on.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Terms of its weights.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where they come from.")] = None,
    classes: Annotated[int, typer.Option("--classes", help="Of NAME:WEIGHTS: how many it knows.")] = 10,
    size: Annotated[int, typer.Option("--size", help="Of NAME:WEIGHTS: side of its images.")] = 32,
    mean: Annotated[
        str | None, typer.Option("--mean", help="Of it, and of FILE.pt2 without a card.", metavar="A,B,...")
    ] = None,
    std: Annotated[
        str | None, typer.Option("--std", help="The same: per channel, of values in [0, 1].", metavar="A,B,...")
    ] = None,
    trust: Trust = False,
) -> None:
    """Put a network, or all that a run folder kept, into a zoo.

    mentorch zoo add runs/teacher zoo

    mentorch zoo add resnet20:weights.safetensors zoo --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --dataset cifar10

    mentorch zoo add network.pt2 zoo --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
    """
    from mentorch.cli import _zoo

    facts = {"name": name, "dataset": dataset, "licence": licence, "url": url}
    given = (None if text is None else _zoo.numbers(text) for text in (mean, std))
    _zoo.add(source, root, facts, _zoo.Made(classes, size, *given), trust=trust)
