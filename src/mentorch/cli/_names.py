"""``mentorch data`` and ``mentorch zoo networks``: what is known by name."""

from pathlib import Path

import torch

from mentorch import data, networks
from mentorch.cli._terminal import show_table


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
    for name in (*networks.names(), *networks.dense_names()):
        network = networks.build(name, num_classes=num_classes, image_size=size)
        found = networks.cost(network, torch.zeros(1, 3, size, size))
        rows.append({"name": name, "parameters": f"{found.parameters:,}", "multiply-adds": f"{found.macs:,}"})
    show_table(rows)
