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
        {
            "source": ["labels"],
            "target": "student",
            "loss": "cross_entropy",
            "gate": "0.1",
            "name": "labels -> student: cross_entropy",
        }
    ]
    if method == "pkt":
        edges = [{"source": ["teacher.fc:in"], "target": "student.fc:in", "loss": "pkt", "gate": "Linear(1.0, 0.0)"}]
        edges[0]["name"] = "teacher.fc:in -> student.fc:in: pkt"
    elif method != "scratch":
        edges.append({"source": ["teacher", "labels"], "target": "student", "loss": method, "gate": "0.9"})
        edges[1]["name"] = f"teacher, labels -> student: {method}"
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


def look(graph: dict[str, Any], epoch: int, labels: float = 0.1) -> dict[str, Any]:
    """A diagnosis as ``fit(diagnose=...)`` writes it: transfers are ten times as loud as the labels' edges."""
    edges, pairs = {}, []
    for edge in graph["edges"]:
        loud = labels if edge["source"] == ["labels"] else 10 * labels
        into = [other for other in graph["edges"] if other["target"] == edge["target"]]
        total = sum(labels if other["source"] == ["labels"] else 10 * labels for other in into)
        edges[edge["name"]] = {"weight": 0.5, "loss": loud / 2, "gradient": loud, "share": loud / total}
    for target in {edge["target"] for edge in graph["edges"]}:
        for source in (node["name"] for node in graph["nodes"] if node["name"] != target):
            quarters = {"both": 0.4, "source_only": 0.3, "target_only": 0.2, "neither": 0.1, "agreement": 0.5}
            pairs.append({"source": source, "target": target, **quarters})
    names = [name for name, edge in edges.items()]
    cosines = [{"node": "student", "edges": [names[0], name], "cosine": -0.25} for name in names[1:]]
    nodes = {node["name"]: {"accuracy": 0.5, "entropy": 1.5 - 0.1 * epoch} for node in graph["nodes"]}
    seconds = {
        "nodes": {node["name"]: 0.002 for node in graph["nodes"]},
        "losses": 0.001,
        "backward": 0.004,
        "data": 0.001,
    }
    return {"edges": edges, "cosines": cosines, "nodes": nodes, "pairs": pairs, "seconds": seconds}


def mutual(n: int, gate: str = "Linear(start=0.0, end=1.0)") -> dict[str, Any]:
    """A graph in which everybody teaches everybody."""
    names = "abcdefgh"[:n]
    ends = [("labels", name, "cross_entropy", "1.0") for name in names]
    ends += [(a, b, "kd", gate) for a in names for b in names if a != b]
    edges = [
        {"source": [source], "target": target, "loss": loss, "gate": gate, "name": f"{source} -> {target}: {loss}"}
        for source, target, loss, gate in ends
    ]
    nodes = [{"name": name, "role": "learning", "network": "resnet20", "parameters": 272_474} for name in names]
    return {"nodes": nodes, "edges": edges}


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
    looks: bool = False,
    drawn: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """A run folder with every file that a report reads; ``looks`` adds diagnoses, ``drawn`` other graphs per method."""
    rng = np.random.default_rng(0)
    rows = []
    for i, method in enumerate(methods):
        for seed in range(seeds):
            level = 0.85 + 0.02 * i + 0.004 * float(rng.standard_normal())
            rows.append(row(method, seed, level, epochs))
            file = folder / rows[-1]["history"]
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = history(method, level, epochs, rng)
            shape = rows[-1]["graph"] = (drawn or {}).get(method, rows[-1]["graph"])
            for line in lines if looks else ():
                line["diagnosis"] = look(shape, line["epoch"])
                line["validation"] |= {
                    node["name"]: {"accuracy": 0.75} for node in shape["nodes"] if "a" <= node["name"] <= "h"
                }
            file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results(rows, **changes)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    environment = {"python": "3.11.2", "torch": "2.13.0", "threads": 2, "platform": "Linux", "gpu": None}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder


def atlas(folder: Path, count: int = 24, *, kept: int = 64, failures: int = 0, **changes: Any) -> Path:
    """The files of a map: networks in four data sets and three architectures, near each other by both."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    data, kinds = np.arange(count) % 4, np.arange(count) // 4 % 3
    like = [np.equal.outer(one, one) * 0.6 + rng.uniform(0, 0.3, (count, count)) for one in (data, kinds)]
    nodes, edges = ((one + one.T) / 2 for one in like)
    kept = min(kept, count - 1)
    best = np.maximum(nodes, edges) - 9 * np.eye(count)
    index = np.argsort(-best, axis=1, kind="stable")[:, :kept]
    angle = 2 * np.pi * data / 4
    plane = np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, 0.25, (count, 2))
    tensors = {
        "index": index.astype(np.int32),
        "nodes": np.take_along_axis(nodes, index, 1).astype(np.float32),
        "edges": np.take_along_axis(edges, index, 1).astype(np.float32),
        "layout": np.stack([plane * (1 + 0.1 * i) for i in range(5)]).astype(np.float32),
        "shares": np.linspace(0, 1, 5).astype(np.float32),
    }
    record = {
        "schema": "mentorch.atlas/1",
        "k": 3,
        "weight": 1.0,
        "frame": {"count": 128},
        "made": {"name": "a zoo", "probes": ["digits", "cifar10"]},
        "networks": [
            {
                "name": f"network {i:04}",
                "network": ("cnn_tiny", "cnn_small", "resnet8")[kinds[i]],
                "task": "classification",
                "dataset": ("digits", "fashion-mnist", "cifar10", "cifar100")[data[i]],
                "accuracy": 0.5,
                "bytes": 12_345,
                "hash": "ab" * 32,
                "folder": f"zoo/{i}",
                "community": int(data[i]),
                "x": float(plane[i, 0]),
                "y": float(plane[i, 1]),
                "blank": 0,
            }
            for i in range(count)
        ],
        "links": [
            {"source": i, "target": int(j), "similarity": 1.0, "nodes": 0.5, "edges": 0.5}
            for i in range(count)
            for j in index[i, :3]
        ],
        "failures": [{"name": f"bad {i}", "folder": "zoo/bad", "reason": "<torn> & bad"} for i in range(failures)],
        "tree": {
            "merges": [[i if i == 0 else count + i - 1, i + 1, 0.1 * (i + 1), i + 2] for i in range(count - 1)],
            "order": list(range(count)),
        },
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "map.safetensors")
    (folder / "atlas.json").write_text(json.dumps(record))
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
    return SimpleNamespace(
        graph=graph,
        row=row,
        results=results,
        run=run_folder,
        edit=edit,
        recipe=RECIPE,
        mutual=mutual,
        look=look,
        atlas=atlas,
    )
