"""The networks of a zoo, ordered by what they promise for a target."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from mentorch.transferability._evaluation import null_band, weighted_tau

PRIORS = ("parameters", "own accuracy")
"""What is known of a network without looking at the target: rankings that a score has to beat."""
_FEW = 8


@dataclass(frozen=True)
class Row:
    """One network of a ranking.

    Attributes:
        name: by its card.
        folder: where it is.
        network: its architecture.
        dataset: what it was trained on.
        hash: of its weights.
        parameters, macs: its size, and multiply-adds for one image at the size that it reads.
        own: its test accuracy on its own data, by its card.
        scores: name -> value; NaN where the score says nothing, with a warning.
        seconds: to load it, run it and score it.
        warnings: about its numbers.
        failure: why it has none.
    """

    name: str
    folder: str
    network: str = ""
    dataset: str | None = None
    hash: str | None = None
    parameters: int | None = None
    macs: int | None = None
    own: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    failure: str = ""

    def column(self, name: str) -> float:
        """A score or a prior by name; NaN if it is not known."""
        known = {"parameters": self.parameters, "own accuracy": self.own}
        value = known[name] if name in known else self.scores.get(name)
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Ranking:
    """Networks, the most promising first.

    Attributes:
        rows: ordered by the first score; then those without it; then failures.
        scores: names of the scores; the first one decides.
        samples, classes: how many of the target the scores saw.
        notes: about the target.
    """

    rows: tuple[Row, ...]
    scores: tuple[str, ...]
    samples: int
    classes: int
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[Row, ...]:
        """Those that have the score that decides."""
        return tuple(row for row in self.rows if not row.failure and not math.isnan(row.column(self.scores[0])))

    @cached_property
    def agreement(self) -> dict[str, dict[str, float]]:
        """Weighted tau of all pairs of scores and priors, over the networks that have both; NaN for less than 3."""
        columns = [name for name in (*self.scores, *PRIORS) if any(not math.isnan(r.column(name)) for r in self.ranked)]
        return {a: {b: self._tau(a, b) for b in columns} for a in columns}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What to know before the order is believed."""
        count = len(self.ranked)
        found = list(self.notes)
        if failed := sum(bool(row.failure) for row in self.rows):
            found.append(f"{failed} of {len(self.rows)} networks cannot be ranked")
        if count < 3:
            return (*found, f"{count} networks with a score are no ranking")
        high = null_band(count).high
        if count < _FEW:
            found.append(
                f"the order of {count} networks is weak: 5 % of random ones reach a weighted tau of {high:.2f}"
            )
        first = self.scores[0]
        for name in self.scores[1:]:
            tau = self.agreement.get(first, {}).get(name, math.nan)
            if tau <= high:
                found.append(f"{first} and {name} agree no more than chance may: weighted tau {tau:.2f}, of {high:.2f}")
        for prior in PRIORS:
            tau = self.agreement.get(first, {}).get(prior, math.nan)
            if tau > max(high, 0.7):
                found.append(f"{first} orders these networks as their {prior} alone does: weighted tau {tau:.2f}")
        return (*found, *_close(self.ranked, first))

    def to_plain(self) -> dict[str, Any]:
        """Everything as JSON has it; numbers that are none are None."""
        return {
            "scores": list(self.scores),
            "samples": self.samples,
            "classes": self.classes,
            "warnings": list(self.warnings),
            "agreement": _plain(self.agreement),
            "null": null_band(len(self.ranked)).high if len(self.ranked) > 2 else None,
            "rows": [_plain(asdict(row)) for row in self.rows],
        }

    def _tau(self, a: str, b: str) -> float:
        pairs = [(row.column(a), row.column(b)) for row in self.ranked]
        pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
        first, second = zip(*pairs, strict=True) if pairs else ((), ())
        if len(pairs) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
            return math.nan
        return weighted_tau(first, second)


def _close(rows: tuple[Row, ...], score: str) -> list[str]:
    """Networks that the score that decides cannot tell apart."""
    same = [(a.name, b.name) for a, b in pairwise(rows) if a.column(score) == b.column(score)]
    return [f"{score} gives {a} and {b} the same value: their order means nothing" for a, b in same]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
