"""The table of an amalgamation: all tasks, and each."""

from collections.abc import Mapping
from typing import Any


def tasks_table(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Everybody on all classes, and on each task if it is known; methods with the half width of their 95 % interval."""
    if not isinstance(results.get("teachers"), Mapping) or not isinstance(results.get("ensemble"), Mapping):
        return []  # no amalgamation
    tasks = list(results["teachers"])
    shown = ["joint", "task", *tasks]
    rows = []
    for name, teacher in results["teachers"].items():
        accuracy = teacher["test"]["accuracy"]
        cells = {key: _percent(accuracy) if key == name else "\u2013" for key in shown}
        rows.append({"who": f"{name} ({teacher['network']})", **cells, **_size(teacher)})
    ensemble = results["ensemble"]
    cells = {key: _percent(ensemble["test"].get(f"accuracy, {key}")) for key in shown}
    rows.append({"who": "all teachers", **cells, **_size(ensemble)})
    known = {(s["method"], s["metric"]): s for s in results["summary"] if s["which"] == results["select"]}
    for method in dict.fromkeys(row["method"] for row in results["rows"]):
        cells = {}
        own = (row["size"] for row in results["rows"] if row["method"] == method and "size" in row)
        for key in shown:
            entry = known.get((method, f"accuracy, {key}"))
            cells[key] = "\u2013" if entry is None else _percent(entry["mean"], entry["low"])
        rows.append({"who": method, **cells, **_size(next(own, results["student"]))})
    return rows


def _percent(mean: Any, low: float | None = None) -> str:
    if mean is None:
        return "\u2013"
    return f"{100 * mean:.1f}" + ("" if low is None else f" ± {100 * (mean - low):.1f}")


def _size(network: Mapping[str, Any]) -> dict[str, str]:
    return {"parameters": f"{network['parameters']:,}", "multiply-adds": f"{network['macs']:,}"}
