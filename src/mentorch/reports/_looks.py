"""What was seen whenever a training was looked into: the ``diagnosis`` of its records."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from mentorch.reports._format import number, text
from mentorch.reports._links import Link, Plan, place_of, plan
from mentorch.reports._read import Run
from mentorch.reports._study import Group

MANY = 12  # edges of a graph that are told and drawn one by one; above it the matrices say more
PARTS = ("edges", "nodes", "seconds")
Look = dict[tuple[str, ...], float]
"""Finite numbers by where they stood: ``("edges", name, "share")``, ``("pairs", source, target, "both")``."""


@dataclass(frozen=True)
class Looks:
    """The looks into one method: per seed, epoch -> what was seen there."""

    group: Group
    seeds: list[dict[float, Look]]

    @property
    def method(self) -> str:
        """Its name."""
        return self.group.method

    @cached_property
    def plan(self) -> Plan:
        """Its graph."""
        return plan(self.group.graph)

    @cached_property
    def edges(self) -> list[Link]:
        """The edges that were ever open, in the order of the graph."""
        seen = list(dict.fromkeys(key[1] for look in self.looks for key in look if key[0] == "edges"))
        known = [link for link in self.plan.links if link.name in seen]
        return known + [self.plan.link(name) for name in seen if name not in {link.name for link in known}]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Source and target of every pair of classifiers with an edge between them, each once."""
        seen = dict.fromkeys((key[1], key[2]) for look in self.looks for key in look if key[0] == "pairs")
        pairs: list[tuple[str, str]] = []
        for source, target in seen:
            if (target, source) not in pairs:
                pairs.append((source, target))
        return pairs

    def labels_of(self, link: Link) -> Link | None:
        """The edge through which the target of another one learns from the labels."""
        same = [o for o in self.edges if o.target == link.target and o != link and is_labels(o)]
        on_output = [other for other in same if place_of(other.targets[0]) == "output"]
        return next(iter(on_output or same), None)

    def all(self, *keys: str) -> list[float]:
        """Every value under ``keys``, of all looks of all seeds."""
        return [look[keys] for look in self.looks if keys in look]

    def median(self, *keys: str) -> float | None:
        """The median over looks and seeds, or None."""
        return _median(self.all(*keys))

    def mean(self, *keys: str) -> float | None:
        """The mean over looks and seeds; a look without a value counts as 0, as a closed edge does."""
        values = self.all(*keys)
        return sum(values) / sum(1 for _ in self.looks) if values else None

    def at_the_end(self, *keys: str) -> float | None:
        """The median over seeds at their last look, or None."""
        return _median([look[keys] for seed in self.seeds if keys in (look := seed[max(seed)])])

    @property
    def first(self) -> dict[float, Look]:
        """The looks of the first seed."""
        return self.seeds[0]

    @property
    def looks(self) -> Iterator[Look]:
        """All of them."""
        return (look for seed in self.seeds for look in seed.values())


def looks(run: Run) -> list[Looks]:
    """The looks into each method that has any, in the order in which they ran."""
    found: dict[str, Looks] = {}
    for group in run.study.groups:
        seeds = [{e["epoch"]: look for e in h if (look := flat(e.get("diagnosis")))} for h in run.history(group)]
        if any(seeds):
            found.setdefault(group.method, Looks(group, [seed for seed in seeds if seed]))
    return list(found.values())


def flat(diagnosis: Any) -> Look:
    """The finite numbers of a diagnosis by where they stand.

    >>> flat({"seconds": {"nodes": {"a": 0.5}}, "cosines": [{"edges": ["e", "f"], "cosine": 0.1}]})
    {('seconds', 'nodes', 'a'): 0.5, ('cosines', 'e', 'f'): 0.1}
    """
    if not isinstance(diagnosis, dict):
        return {}
    found = dict(_numbers((), {key: part for key in PARTS if isinstance(part := diagnosis.get(key), dict)}))
    for entry in _entries(diagnosis.get("cosines")):
        ends = entry.get("edges")
        value = number(entry.get("cosine"))
        if isinstance(ends, list) and len(ends) == 2 and value is not None:
            found["cosines", text(ends[0]), text(ends[1])] = value
    for entry in _entries(diagnosis.get("pairs")):
        found |= dict(_numbers(("pairs", text(entry.get("source")), text(entry.get("target"))), entry))
    return found


def accuracy_in(look: Look, node: str) -> float | None:
    """How often a node was right on the validation images of a look."""
    for key in look:
        if key[0] == "pairs" and key[3] == "both" and node in key[1:3]:
            alone = look.get((*key[:3], "source_only" if node == key[1] else "target_only"))
            return None if alone is None else look[key] + alone
    return None


def is_labels(link: Link) -> bool:
    """Whether an edge comes from the labels alone."""
    return all(source.split(".")[0] == "labels" for source in link.sources)


def _numbers(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers((*place, text(key)), item)
    elif (found := number(value)) is not None:
        yield place, found


def _entries(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
