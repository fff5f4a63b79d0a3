"""Synthetic run folders: seeded numbers in the documented schema."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

RECIPE = "mentorch: 1\nmethods: [scratch, kd]  # <b>verbatim & escaped</b>\n"


def graph(method: str) -> dict[str, Any]:
    """A graph as results.json records it; one edge per term of the method."""
    edges = [
        {"source": ["labels"], "target": "student", "loss": "cross_entropy", "gate": "0.1", "name": "labels -> student"}
    ]
    if method == "pkt":
        edges = [{"source": ["teacher.fc:in"], "target": "student.fc:in", "loss": "pkt", "gate": "Linear(1.0, 0.0)"}]
    elif method != "scratch":
        edges.append({"source": ["teacher", "labels"], "target": "student", "loss": method, "gate": "0.9"})
    nodes = (
        [{"name": "teacher", "role": "frozen", "network": "resnet56", "parameters": 855_770}]
        if method != "scratch"
        else []
    )
    nodes.append({"name": "student", "role": "learning", "network": "resnet8", "parameters": 78_042})
    return {"nodes": nodes, "edges": edges}


def history(method: str, level: float, epochs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One line per epoch: a curve that saturates at ``level``, and two loss terms."""
    lines = []
    for epoch in range(1, epochs + 1):
        accuracy = level * (1 - np.exp(-4 * epoch / epochs)) + 0.01 * rng.standard_normal()
        edges = {"labels -> student: cross_entropy": 2 * np.exp(-epoch / epochs)}
        if method != "scratch":
            edges[f"teacher -> student: {method}"] = 1 - 0.5 * epoch / epochs
        lines.append(
            {
                "epoch": epoch,
                "step": 10 * epoch,
                "progress": epoch / epochs,
                "seconds": 0.5,
                "train": {"loss": sum(edges.values()), "edges": edges},
                "validation": {"student": {"accuracy": accuracy, "cross_entropy": 2.5 * (1.05 - accuracy)}},
                "lr": {"student": 0.1},
            }
        )
    return lines


def row(method: str, seed: int, accuracy: float, epochs: int = 10) -> dict[str, Any]:
    """One row of results.json."""
    measured = {"accuracy": accuracy, "top5": 0.99, "cross_entropy": 1 - accuracy, "ece": 0.05, "knn": accuracy - 0.01}
    return {
        "method": method,
        "node": "student",
        "seed": seed,
        "epochs": epochs,
        "best_epoch": epochs - 1,
        "seconds": 62.0 + seed,
        "trained_samples": 12_000,
        "macs": 1.2e12,
        "parameters": 78_042,
        "validation": {"best": {"accuracy": accuracy + 0.01}, "last": {"accuracy": accuracy}},
        "test": {"best": measured, "last": measured | {"accuracy": accuracy - 0.002}},
        "history": f"fits/{method.replace('/', '_')}/seed-{seed}/metrics.jsonl",
        "model": None,
        "graph": graph(method),
    }


def results(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A whole results.json."""
    return {
        "schema": "mentorch.results/1",
        "kind": "compare",
        "name": "digits-demo",
        "created": "2025-01-02T03:04:05+00:00",
        "seconds": 93.4,
        "data": {
            "name": "digits",
            "train": 1200,
            "validation": 237,
            "test": 360,
            "classes": 10,
            "note": "not the full set: 1200 of 1437 records",
            "fingerprint": "a3f5" * 16,
        },
        "select": "best",
        "teacher": {
            "name": "teacher",
            "network": "resnet56",
            "parameters": 855_770,
            "macs": 127_000_000,
            "source": "trained here",
            "validation": {"accuracy": 0.95, "cross_entropy": 0.2},
            "test": {"accuracy": 0.943, "top5": 1.0, "cross_entropy": 0.21, "ece": 0.02, "knn": 0.95},
        },
        "student": {"network": "resnet8", "parameters": 78_042, "macs": 12_800_000},
        "rows": rows,
        "summary": [],
    } | changes


def run_folder(
    folder: Path,
    methods: tuple[str, ...] = ("scratch", "kd", "dkd"),
    *,
    seeds: int = 3,
    epochs: int = 10,
    **changes: Any,
) -> Path:
    """A run folder with every file that a report reads."""
    rng = np.random.default_rng(0)
    rows = []
    for i, method in enumerate(methods):
        for seed in range(seeds):
            level = 0.85 + 0.02 * i + 0.004 * float(rng.standard_normal())
            rows.append(row(method, seed, level, epochs))
            file = folder / rows[-1]["history"]
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = history(method, level, epochs, rng)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results(rows, **changes)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    environment = {"python": "3.11.2", "torch": "2.13.0", "threads": 2, "platform": "Linux", "gpu": None}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder


def edit(folder: Path, change: Any) -> None:
    """Let ``change`` rewrite the results in place."""
    path = folder / "results.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


@pytest.fixture(scope="session")
def fake() -> SimpleNamespace:
    """The makers of synthetic files."""
    return SimpleNamespace(graph=graph, row=row, results=results, run=run_folder, edit=edit, recipe=RECIPE)
