"""Many seeds in few numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the mean by Student's t; None for fewer than two values.

    >>> low, high = interval([0.90, 0.91, 0.92])
    >>> round(low, 4), round(high, 4)
    (0.8852, 0.9348)
    """
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    mean = sum(values) / n
    half = float(t.ppf(0.975, n - 1)) * _deviation(values) / math.sqrt(n)
    return mean - half, mean + half


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean, standard deviation and 95 % interval over seeds of every test metric of every method."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for which, metrics in row.get("test", {}).items():
            for metric, value in metrics.items():
                values.setdefault((row["method"], metric, which), []).append(value)
    summary = []
    for (method, metric, which), seen in values.items():
        low, high = interval(seen) or (None, None)
        entry = {"method": method, "metric": metric, "which": which, "n": len(seen)}
        entry |= {"mean": sum(seen) / len(seen), "std": _deviation(seen), "low": low, "high": high}
        summary.append(entry)
    return summary
