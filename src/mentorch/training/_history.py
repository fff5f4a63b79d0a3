"""What happened in a run, as data."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class History:
    """One record per epoch, and which epoch was best.

    Attributes:
        records: as written to ``metrics.jsonl``: epoch, step, progress, seconds, losses, validation metrics, rates.
        best_epoch: the epoch with the best monitored metric on validation data; None without validation.
        best_value: the metric's value there.
        best_node: the node that reached it.
        best_weights: learning node -> its state there, on the CPU; empty without validation.
        samples: training samples seen, counted with repetition.
        forwards: node -> samples that it ran on in training; not those that a cache answered for.
        backwards: learning node -> samples that it learned from.
        stopped: why the run ended before its last epoch, if it did.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    best_node: str = ""
    best_weights: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    samples: int = 0
    forwards: dict[str, int] = field(default_factory=dict)
    backwards: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None

    def ran(self, name: str, samples: int, *, learned: bool = False) -> None:
        """Count a pass of a node over so many samples."""
        self.forwards[name] = self.forwards.get(name, 0) + samples
        if learned:
            self.backwards[name] = self.backwards.get(name, 0) + samples

    def column(self, name: str) -> list[float | None]:
        """One value per epoch by dotted name, such as ``"validation.student.accuracy"``; None where it is missing."""
        return [dict(_flatten(record)).get(name) for record in self.records]

    def to_csv(self) -> str:
        """All records as one CSV table with dotted column names."""
        rows = [dict(_flatten(record)) for record in self.records]
        names = list(dict.fromkeys(name for row in rows for name in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
