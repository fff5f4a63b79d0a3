"""What is measured after each generation of ``mentorch evolve``, as rows of its results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentorch._files import in_lines, read_sealed, write_sealed, write_text
from mentorch.cli._turns import Bench, known
from mentorch.methods import Evolved
from mentorch.training import History

EVOLVE = "evolve"
_FILE = "generations.json"


def measured(
    bench: Bench, found: Evolved, seed: int, histories: Sequence[History], *, last: bool
) -> list[dict[str, Any]]:
    """Dense and slim network after a generation, with all that was spent until then.

    The dense network of the last generation is a row of ``compare`` already, and the slim one is kept.
    """
    name = EVOLVE if last else f"generation {found.number}"
    spent = {
        "epochs": sum(len(history.records) for history in histories),
        "trained_samples": sum(history.samples for history in histories),
        "seconds": sum(history.records[-1]["seconds"] for history in histories),
    }
    rows = []
    for label, network in ((name, found.network), (f"{name} slim", found.slim)):
        if network is None or label == EVOLVE:
            continue
        size = sum(p.numel() for p in network.parameters())
        row = {
            "method": label,
            "node": "student",
            "seed": seed,
            "generation": found.number,
            "slim": network is found.slim,
            **spent,
            "parameters": size,
            "history": None,
            "model": None,
        }
        rows.append({**row, **bench.measured(network)})
        if last:
            folder = bench.session.folder / "nodes" / f"evolve-slim-seed-{seed}"
            rows[-1]["model"] = bench.keep(network, folder, rows[-1], (found.split.recipe(),))
    if rows:
        told = ", ".join(f"{row['method']} {row['test'][bench.recipe.select]['accuracy']:.2%}" for row in rows)
        bench.session.tell(f"seed {seed}, after generation {found.number}: {told}")
    return rows


def write(bench: Bench, rows: Sequence[dict[str, Any]], place: Path) -> None:
    """Keep the rows of a seed; those of slim networks also as a history, for the curves of a report."""
    if slim := [row for row in rows if row["method"].endswith(" slim")]:
        curve = place / "slim.jsonl"
        records = [
            {"epoch": row["epochs"], "validation": {"student": row["validation"][bench.recipe.select]}} for row in slim
        ]
        write_text(curve, in_lines(records))
        slim[-1]["history"] = str(curve.relative_to(bench.session.folder))
    write_sealed(place / _FILE, {"rows": list(rows)})


def with_generations(rows: Sequence[dict[str, Any]], folder: Path, select: str) -> list[dict[str, Any]]:
    """The rows of a comparison, and those that were measured after each generation, in the order of the generations."""
    found: list[dict[str, Any]] = []
    for row in rows:
        place = folder / "fits" / row["method"] / f"seed-{row['seed']}" / _FILE
        if "error" in row or not place.exists():
            found.append(row)
            continue
        per_sample = row["macs"] // row["trained_samples"]
        own = [{**extra, "macs": per_sample * extra["trained_samples"]} for extra in read_sealed(place)["rows"]]
        slim = [extra for extra in own if extra["method"] == f"{EVOLVE} slim"]
        before = [extra for extra in own if extra not in slim]
        last = {"generation": 1 + len({extra["generation"] for extra in before}), "slim": False}
        found += [*before, known({**row, **last}, select), *slim]
    order = {method: i for i, method in enumerate(dict.fromkeys(row["method"] for row in found))}
    return sorted(found, key=lambda row: order[row["method"]])
