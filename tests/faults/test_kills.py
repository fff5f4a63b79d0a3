"""Every command killed at random moments, and gone on with: the end has the bits of a run that nobody disturbed."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mentorch import zoo
from mentorch._files import sha256
from mentorch.networks import build, hash_tensors

Request = Callable[..., dict[str, Any]]
CI, NIGHTLY = 3, 26
IN_A_ROW = 6
"""Kills of one run, before it may end."""

QUICK = ("--train-size", "60", "--batch-size", "20", "--epochs", "2", "--lr", "0.01", "--knn", "0")
QUIET = ("--no-tensorboard", "--no-results", "--name", "r", "--quiet")
PAIR = ("--teacher", "cnn_tiny", "--teacher-train-size", "60", "--teacher-epochs", "2", "--student", "cnn_tiny")
VIEWS = ("--augment", "standard", "--cache", "logits", "--views", "2")
TEACHERS = ("--teachers", "low=zoo/low", "high=zoo/high", "--student", "cnn_tiny", "--pictures", "0")
SEARCHED = ("--target", "cnn_tiny", "--partners", "cnn_tiny", "--nodes", "2", "--trials", "3", "--finals", "0")
DENSE = (
    "--size",
    "16",
    "--train-size",
    "16",
    "--batch-size",
    "8",
    "--epochs",
    "1",
    "--search-epochs",
    "1",
    "--lr",
    "0.01",
)

CASES: dict[str, tuple[str, ...]] = {
    "train": ("train", *QUICK, *QUIET, "--network", "cnn_tiny"),
    "compare": ("compare", *QUICK, *QUIET, *PAIR, "--min-teacher-acc", "0", "--methods", "scratch", "kd", "hint"),
    "cache": ("compare", *QUICK, *QUIET, *PAIR, "--min-teacher-acc", "0", "--methods", "kd", *VIEWS),
    "graph": ("run", "graph.json", "--name", "r", "--quiet"),
    "evolve": ("evolve", *QUICK, *QUIET, "--network", "cnn_tiny", "--generations", "3"),
    "slim": ("slim", *QUICK, *QUIET, "--network", "zoo/all", "--to", "0.5", "--steps", "2"),
    "amalgamate": ("amalgamate", *QUICK, *QUIET, *TEACHERS, "--methods", "cfl", "layerwise", "recombine"),
    "search": ("search", *QUICK, *QUIET, *SEARCHED),
    "rank": ("rank", *QUICK, *QUIET, "--samples", "60", "--scores", "knn", "gbc", "--distill", "cnn_tiny"),
    "atlas": ("atlas", "zoo", "--count", "12", "--parquet", "--name", "r", "--quiet"),
    "branch": ("branch", *DENSE, *QUIET, "--tasks", "segmentation", "depth", "--methods", "branch"),
}
GRAPH = {
    "command": "graph",
    "data": "digits",
    "train_size": 60,
    "batch_size": 20,
    "epochs": 4,
    "accumulate": 2,
    "ema": 0.8,
    "lr": 0.01,
    "knn": 0,
    "tensorboard": False,
    "results": False,
    "preset": "mutual",
    "nodes": {"a": {"network": "cnn_tiny"}, "b": {"network": "cnn_tiny"}},
}


@pytest.fixture(scope="module")
def victim() -> Iterator[Request]:
    """``victim(words=..., folder=..., seconds=...)``: a command in a process that may be killed."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("victims.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def request(**what: Any) -> dict[str, Any]:
            server.stdin.write(json.dumps(what, default=str) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield request
        server.stdin.close()
        assert server.wait(60) == 0


def furnish(folder: Path) -> Path:
    """What commands start from: a recipe, and networks that know nothing yet."""
    folder.mkdir()
    (folder / "graph.json").write_text(json.dumps(GRAPH))
    for number, (name, classes) in enumerate({"low": "01234", "high": "56789", "all": "0123456789"}.items()):
        torch.manual_seed(number)
        arguments = {"num_classes": len(classes), "in_channels": 1}
        kind = "cnn_small" if name == "all" else "cnn_tiny"
        size = zoo.Input(1, (8, 8), (0.3,), (0.4,), "gray")
        card = zoo.Card(name, kind, arguments, classes=tuple(classes), input=size)
        zoo.save(build(kind, **arguments), folder / "zoo" / name, card)
    return folder


def timeless(value: Any) -> Any:
    """What two runs of one recipe have in common: everything but how long it took, and when it was."""
    if isinstance(value, dict):
        left_out = ("seconds", "peak_memory", "latency", "created", "wall", "number", "sha256")
        return {key: timeless(item) for key, item in value.items() if key not in left_out}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def ends(run: Path) -> dict[str, Any]:
    """What a run leaves: its results, its histories and the bits of its networks."""
    assert (run / "results.json").exists()
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("results.json")):  # a ranking has one of its own, and one of the student
        found[str(path.relative_to(run))] = timeless(json.loads(path.read_text()))
    for path in sorted(run.rglob("metrics.jsonl")):
        lines = path.read_text().splitlines()
        found[str(path.relative_to(run))] = [timeless(json.loads(line)) for line in lines]
    for path in sorted(run.rglob("*.safetensors")):
        found[str(path.relative_to(run))] = hash_tensors(load_file(path))  # the order in a file is not always the same
    return found


def answered(run: Path) -> dict[str, Any]:
    """The same but for what it cost: steps after the last checkpoint are made again, and the cache answers by then."""
    found = ends(run)
    for row in found["results.json"]["rows"]:
        assert row.pop("macs") > 0
    return found


def worths(run: Path) -> dict[str, Any]:
    """What each graph of a search is worth; which graphs were tried depends on when it was disturbed."""
    found = {path.parent.name: timeless(json.loads(path.read_text())) for path in run.glob("trials/*/result.json")}
    assert len(found) == len(json.loads((run / "search.json").read_text())["trials"]) == 3
    return found


def drawn(run: Path) -> dict[str, Any]:
    """Every file of a map, and the embeddings that it was drawn from; verified.json has the times of the networks."""
    found = {str(path.relative_to(run)): sha256(path) for path in run.rglob("*") if path.is_file()}
    assert {"atlas.json", "atlas.html", "map.safetensors", "embeddings/rows.bin"} <= found.keys()
    left_out = (".lock", "verified.json", ".tmp")  # the last is half a file of a process that was killed
    return {name: digest for name, digest in found.items() if not name.endswith(left_out)}


def same(case: str, one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    names = one.keys() & other.keys() if case == "search" else one.keys() | other.keys()
    return [name for name in sorted(names) if one.get(name) != other.get(name)]


LOOKS = {"cache": answered, "search": worths, "atlas": drawn}


@pytest.mark.parametrize("kills", [CI, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments_and_gone_on_with(
    case: str, kills: int, victim: Request, tmp_path: Path, count: Callable[..., None]
) -> None:
    words, look, draw = CASES[case], LOOKS.get(case, ends), random.Random(case)
    quiet = victim(words=words, folder=furnish(tmp_path / "whole"))
    assert quiet["status"] == 0, quiet["told"]
    expected = look(tmp_path / "whole/runs/r")
    killed = resumed = finished = 0
    while killed < kills:
        folder = furnish(tmp_path / f"killed-{killed}")
        run, before = folder / "runs/r", killed
        while True:
            again = ("--resume",) if (run / "recipe.yaml").exists() else ()
            last = killed - before == min(IN_A_ROW, kills)
            seconds = None if last else draw.uniform(0.0, 0.6) * quiet["seconds"]
            left = victim(words=[*words, *again], folder=folder, seconds=seconds)
            resumed += bool(again)
            if left["status"] != -9:
                break
            killed += 1
        assert left["status"] == 0, left["told"]
        found = look(run)
        assert same(case, found, expected) == []
        expected = {**found, **expected}
        finished += 1
    count(kills=killed, runs_gone_on_with=resumed, runs_that_ended_with_the_same_bits=finished)
    assert killed >= kills
