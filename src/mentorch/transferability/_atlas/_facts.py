"""What a map says of each network, and of each link, as plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mentorch import zoo
from mentorch.transferability._atlas._neighbours import Neighbours
from mentorch.zoo._store import WEIGHTS

Plain = dict[str, Any]


def facts(entry: zoo.Entry) -> Plain:
    """A network's card in short, without what nobody knows."""
    card = entry.card
    if card is None:
        return {"name": entry.name, "folder": str(entry.folder)}
    weights = entry.folder / WEIGHTS
    size = "x".join(map(str, (card.input.channels, *card.input.size))) if card.input else None
    found = {
        "name": entry.name,
        "network": card.network,
        "task": card.task,
        "dataset": card.dataset,
        "classes": card.arguments.get("num_classes"),
        "input": size,
        "accuracy": _accuracy(card.metrics),
        "bytes": weights.stat().st_size if weights.is_file() else None,
        "licence": card.licence,
        "url": card.url,
        "parents": len(card.parents) or None,
        "tags": ", ".join(f"{name}: {value}" for name, value in card.tags.items()) or None,
        "version": card.version,
        "hash": card.hash,
        "folder": str(entry.folder),
    }
    return {name: value for name, value in found.items() if value is not None}


def links(near: Neighbours, weight: float) -> list[Plain]:
    """One record per network and neighbour, by position; the similarity is nodes plus ``weight`` times edges."""
    rows = zip(near.index.tolist(), near.nodes.tolist(), near.edges.tolist(), strict=True)
    return [
        {
            "source": i,
            "target": j,
            "similarity": _short(v + weight * e),
            "nodes": _short(v),
            "edges": _short(e),
        }
        for i, row in enumerate(rows)
        for j, v, e in zip(*row, strict=True)
    ]


def failed(failures: Sequence[zoo.Entry]) -> list[dict[str, str]]:
    """Networks that are not on the map, with the reason."""
    return [{"name": e.name, "folder": str(e.folder), "reason": e.failure} for e in failures]


def _accuracy(metrics: Mapping[str, Any]) -> float | None:
    """On the test split, wherever a card keeps it."""
    test = metrics.get("test", {})
    found = test.get("best", test) if isinstance(test, Mapping) else {}
    value = found.get("accuracy") if isinstance(found, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _short(value: float) -> float:
    return round(value, 5)
