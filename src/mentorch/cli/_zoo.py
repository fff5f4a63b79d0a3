"""``mentorch data`` and ``mentorch zoo``: what there is."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
import typer

from mentorch import data, networks, zoo
from mentorch._errors import RunError
from mentorch.cli._terminal import say, show_table


def show_data() -> None:
    """All data sets known by name."""
    show_table([_facts(name) for name in data.names()])


def _facts(name: str) -> dict[str, str]:
    facts = data.describe(name)
    shape = "x".join(map(str, facts.shape))
    return {
        "name": name,
        "images": shape,
        "classes": str(len(facts.classes)),
        "train / test": f"{facts.train:,} / {facts.test:,}",
        "where": facts.how,
    }


def describe_data(name: str, root: Path | None) -> None:
    """One data set, read and checked."""
    found = data.load(name, root=root)
    rows = {
        "name": found.name,
        "training": f"{len(found.train):,} images",
        "validation": f"{len(found.validation):,} images",
        "test": f"{len(found.test):,} images",
        "image": "x".join(map(str, found.train.images.shape[1:])),
        "classes": f"{found.num_classes}: {', '.join(found.classes[:12])}{' ...' if found.num_classes > 12 else ''}",
        "mean": ", ".join(f"{value:.4f}" for value in found.mean),
        "std": ", ".join(f"{value:.4f}" for value in found.std),
        "note": found.note or "",
        "fingerprint": found.fingerprint,
    }
    show_table([{"what": key, "value": value} for key, value in rows.items() if value])


def show_networks(num_classes: int, size: int) -> None:
    """All networks known by name, measured."""
    rows = []
    for name in networks.names():
        network = networks.build(name, num_classes=num_classes, image_size=size)
        found = networks.cost(network, torch.zeros(1, 3, size, size))
        rows.append({"name": name, "parameters": f"{found.parameters:,}", "multiply-adds": f"{found.macs:,}"})
    show_table(rows)


def show_cards(root: Path) -> None:
    """All networks kept below a folder; those that cannot be used on standard error, with the reason."""
    found = sorted(zoo.entries(root), key=lambda entry: entry.name)
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


def show_card(folder: Path) -> None:
    """A card as JSON, after its weights were checked against it."""
    _, card = zoo.load(folder)
    typer.echo(json.dumps(asdict(card), indent=2))
