"""What the rows of a results file say: methods, seeds, means and intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mentorch.reports._format import dig, number, shorten, signed, text


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % t interval; no bounds when one value cannot give any."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def show(self, digits: int, scale: float = 1.0) -> str:
        """``91.2 ± 0.4``, or the mean alone."""
        middle = signed(self.mean * scale, digits)
        return middle if self.high is None else f"{middle} ± {(self.high - self.mean) * scale:.{digits}f}"


def interval(values: Sequence[float]) -> Interval | None:
    r"""Mean and 95 % interval :math:`\bar x \pm t_{0.975, n-1}\, s / \sqrt n` of independent values.

    >>> interval([0.5])
    Interval(mean=0.5, low=None, high=None, n=1)
    """
    n = len(values)
    if n == 0:
        return None
    mean = sum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1)
    from scipy.special import stdtrit

    deviation = (sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5
    half = float(stdtrit(n - 1, 0.975)) * deviation / n**0.5
    return Interval(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Group:
    """The rows of one method (and node, where a method trains several): one per seed."""

    label: str
    method: str
    node: str
    rows: tuple[dict[str, Any], ...]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Seed and error of every training that failed."""
        return [(text(row.get("seed", "?")), text(row["error"])) for row in self.rows if row.get("error")]

    @property
    def graph(self) -> dict[str, Any] | None:
        """The graph of the first row that records one."""
        found = (row.get("graph") for row in self.rows)
        return next((graph for graph in found if isinstance(graph, dict)), None)

    @property
    def classifies(self) -> bool:
        """Whether a loss reads the node's output; without one (pkt alone) its classifier was never trained."""
        edges = dig(self.graph, "edges")
        targets = [str(dig(edge, "target")) for edge in edges] if isinstance(edges, list) else []
        mine = [target for target in targets if target.replace(":", ".").split(".")[0] == self.node]
        return not mine or any(target.split(":")[0] == self.node and target != f"{self.node}:in" for target in mine)

    def values(self, *keys: str) -> dict[str, float]:
        """Seed -> finite number under ``keys``, of the trainings that succeeded."""
        found = {
            text(row.get("seed", i)): number(dig(row, *keys)) for i, row in enumerate(self.rows) if not row.get("error")
        }
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, *keys: str) -> float | None:
        """The mean over seeds, or None."""
        values = self.values(*keys).values()
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Study:
    """A results file, ready to be told: ``results`` as in results.json, schema ``mentorch.results/1``."""

    results: dict[str, Any]

    @cached_property
    def groups(self) -> list[Group]:
        """One group per method and node, in the order in which they ran."""
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.results.get("rows") or []:
            rows.setdefault((text(row.get("method", "?")), text(row.get("node") or "student")), []).append(row)
        nodes: dict[str, int] = {}
        for method, _ in rows:
            nodes[method] = nodes.get(method, 0) + 1
        return [
            Group(method if nodes[method] == 1 else f"{method} · {node}", method, node, tuple(found))
            for (method, node), found in rows.items()
        ]

    @cached_property
    def split(self) -> str:
        """The split whose accuracy is told: test, or validation where nothing was tested."""
        tested = any(group.values("test", which, "accuracy") for group in self.groups for which in ("best", "last"))
        return "test" if tested else "validation"

    @cached_property
    def which(self) -> str:
        """The selected checkpoint, or the other one where the selected one was never measured."""
        select = "last" if self.results.get("select") == "last" else "best"
        measured = any(group.values(self.split, select, "accuracy") for group in self.groups)
        return select if measured else {"best": "last", "last": "best"}[select]

    @cached_property
    def baseline(self) -> Group | None:
        """The group trained from labels alone: ``scratch``, or ``independent`` as searches call it."""
        alone = (group for name in ("scratch", "independent") for group in self.groups if group.method == name)
        return next(alone, None)

    @property
    def against(self) -> str:
        """What that group is called."""
        return self.baseline.method if self.baseline else "scratch"

    @property
    def digits(self) -> int:
        """Decimals of a percentage: no more than the number of test images carries."""
        return 2 if (number(dig(self.results, "data", self.split)) or 0) >= 2000 else 1

    def accuracy(self, group: Group, which: str) -> Interval | None:
        """Accuracy of the best or last epoch over the seeds."""
        return interval(list(group.values(self.split, which, "accuracy").values()))

    def difference(self, group: Group) -> Interval | None:
        """Accuracy minus that of the baseline at the selected epoch, paired by seed (equal start, equal batches).

        Without a common seed it is the difference of the means, and has no interval; a classifier that was never
        trained has no difference.
        """
        if self.baseline is None or group is self.baseline or not group.classifies:
            return None
        ours, theirs = (g.values(self.split, self.which, "accuracy") for g in (group, self.baseline))
        if not ours or not theirs:
            return None
        pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        means = [sum(values.values()) / len(values) for values in (ours, theirs)]
        return interval(pairs) if pairs else Interval(means[0] - means[1], None, None, 0)

    @property
    def name(self) -> str:
        """The run's name, short enough for a heading."""
        return shorten(text(self.results.get("name") or "run"), 80)
