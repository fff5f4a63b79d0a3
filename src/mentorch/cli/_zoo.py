"""``mentorch zoo``: networks kept in folders with their cards."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from torch import nn

from mentorch import networks, zoo
from mentorch._errors import RunError, UsageError
from mentorch.cli import _networks
from mentorch.cli._terminal import say, show_table


@dataclass(frozen=True)
class Made:
    """How a network that is weights and a name is built, and fed.

    Attributes:
        classes: how many it knows.
        size: side of its images.
        mean, std: per channel, of images in [0, 1].
    """

    classes: int
    size: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def input(self) -> zoo.Input:
        """For its card."""
        mean, std = self.mean or (0.0, 0.0, 0.0), self.std or (1.0, 1.0, 1.0)
        order = {1: "gray", 3: "rgb"}.get(len(mean), "rgbd")
        return zoo.Input(len(mean), (self.size, self.size), mean, std, order)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas.

    >>> numbers("0.5, 1")
    (0.5, 1.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is not numbers with commas, one per channel") from error


def show_cards(root: Path) -> None:
    """All networks kept below a folder; those that cannot be used on standard error, with the reason."""
    _show(sorted(zoo.entries(root), key=lambda entry: entry.name), root)


def check_cards(root: Path, *, trust: bool) -> None:
    """The same after every network was built, its weights read, hashed and put into it."""
    found = [zoo.check(entry, trust=trust) for entry in zoo.entries(root)]
    _show(sorted(found, key=lambda entry: entry.name), root)
    say(f"{len(found)} networks checked: weights are what their cards say, and fit")


def show_card(folder: Path, *, trust: bool) -> None:
    """A card as JSON, after its weights were checked against it; of a program only how many calls it has."""
    _, card = zoo.load(folder, trust=trust)
    facts = asdict(card)
    if "program" in facts["arguments"]:
        facts["arguments"]["program"] = (
            f"{len(facts['arguments']['program']['calls'])} calls, see {folder / 'card.json'}"
        )
    typer.echo(json.dumps(facts, indent=2))


def add(source: str, root: Path, facts: Mapping[str, Any], made: Made, *, trust: bool) -> None:
    """Put networks into a zoo.

    Args:
        source: a folder with a card, a folder of such, `timm:NAME`, `hf:NAME`, `NAME:WEIGHTS`, or a `.pt2` file.
        root: the zoo.
        facts: for the card; those that are None are left as they are.
        made: for `NAME:WEIGHTS` and `.pt2` files.
        trust: see :func:`mentorch.zoo.load`.
    """
    facts = {name: value for name, value in facts.items() if value is not None}
    if Path(source).is_dir():
        for folder in kept_in(Path(source)):
            typer.echo(zoo.add(folder, root, trust=trust, **facts))
        return
    network, card = _named(source, made)
    card = zoo.changed(card, facts)
    folder = zoo.place(card.name, root)
    zoo.save(network, folder, card)
    typer.echo(folder)


def kept_in(folder: Path) -> list[Path]:
    """The folder itself, or all networks below it that can be used; of the others the reason is told."""
    if (folder / "card.json").exists():
        return [folder]
    found = list(zoo.entries(folder))
    for entry in found:
        if entry.failure:
            say(f"{entry.name}: {entry.failure}")
    usable = [entry.folder for entry in found if not entry.failure]
    if not usable:
        raise UsageError(f"no network that can be used is kept below {folder}")
    return usable


def _named(source: str, made: Made) -> tuple[nn.Module, zoo.Card]:
    """A network by name, with weights of somebody; or one that was exported."""
    if source.endswith(".pt2"):
        return _exported(source, made)
    kind, _, rest = source.partition(":")
    name, weights = _networks.split(source)
    if weights is None and kind in ("timm", "hf"):
        return zoo.from_timm(rest) if kind == "timm" else zoo.from_hf(rest)
    if weights is None:
        raise UsageError(f"{source} is no folder: name one, or NAME:WEIGHTS, timm:NAME, hf:NAME, FILE.pt2")
    arguments: dict[str, Any] = {"num_classes": made.classes, "in_channels": made.input.channels}
    network = networks.build(name, **arguments, image_size=made.size)
    networks.load_weights(network, weights)
    if ":" in name:
        arguments["image_size"] = made.size
    return network, zoo.Card(Path(weights).stem, name, arguments, input=made.input)


def _exported(source: str, made: Made) -> tuple[nn.Module, zoo.Card]:
    """A program of `torch.export`, which knows its classes and the size of its images itself, and may have a card."""
    network, card = zoo.from_pt2(source)
    if card.input is not None:
        if made.mean or made.std:
            raise UsageError(f"{source} has a card that says what it is fed: leave out --mean and --std")
        return network, card
    channels, *size = card.arguments["program"]["reads"]
    if made.input.channels != channels:
        raise UsageError(
            f"{source} reads {channels} channels: --mean and --std need as many numbers, not {made.input.mean}"
        )
    return network, dataclasses.replace(card, input=dataclasses.replace(made.input, size=(size[0], size[1])))


def _show(found: Sequence[zoo.Entry], root: Path) -> None:
    if rows := [_kept(entry, entry.card) for entry in found if entry.card is not None and not entry.failure]:
        show_table(rows)
    for entry in found:
        if entry.failure:
            say(f"{entry.name}: {entry.failure}")
    if not found:
        say(f"no network is kept below {root}")
    if failed := [entry for entry in found if entry.failure]:
        first = f"{failed[0].name}: {failed[0].failure}"
        raise RunError(f"{len(failed)} of {len(found)} networks below {root} cannot be used, the first is {first}")


def _kept(entry: zoo.Entry, card: zoo.Card) -> dict[str, str]:
    test = card.metrics.get("test", {})
    accuracy = test.get("best", test).get("accuracy") if isinstance(test, dict) else None
    return {
        "name": entry.name,
        "network": card.network,
        "data": card.dataset or "",
        "test accuracy": "" if accuracy is None else f"{accuracy:.2%}",
        "folder": str(entry.folder),
    }
