"""The command line in this process, and small runs that tests share."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch.cli import main

QUICK = ("--epochs", "1", "--train-size", "100", "--batch-size", "50", "--no-tensorboard", "--no-results")

TASKS = ("segmentation", "depth", "normals")
BRANCH = ("--size", "16", "24", "--train-size", "24", "--batch-size", "8", "--epochs", "1", "--search-epochs", "1")
BRANCH += ("--lr", "0.01", "--no-tensorboard")
STUDENTS = ("labels", "kd", "branch", "kd_branched")

VARYING = ("seconds", "peak_memory")
"""What may differ between two runs of one recipe."""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error: one line, and no traceback beside it."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err
        return lines[0]


def call(*words: Any) -> Result:
    out, err = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    torch.set_num_threads(threads)
    assert isinstance(end.value.code, int)
    return Result(end.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def mentorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``mentorch(word, ...)``: run a command in an empty folder, on a machine without data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MENTORCH_DATA", raising=False)
    return call


@pytest.fixture
def quick(mentorch: Callable[..., Result]) -> Callable[..., Result]:
    """``quick(command, word, ...)``: the same with one epoch on a hundred digits, and without a report."""
    return lambda command, *words: mentorch(command, *QUICK, *words)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a card: a small network that knows the digits a little."""
    root = tmp_path_factory.mktemp("taught")
    words = ("--network", "cnn_small", "--epochs", "6", "--lr", "0.01", "--no-tensorboard", "--no-results")
    result = call("train", *words, "--train-size", "400", "--out", root, "--name", "t")
    assert result.code == 0, result.err
    return root / "t" / "nodes" / "scratch-seed-0"


@pytest.fixture(scope="session")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``mentorch branch`` with all tasks, by its other name."""
    root = tmp_path_factory.mktemp("branched")
    words = ("--tasks", *TASKS, *BRANCH, "--methods", *STUDENTS, "--out", root, "--name", "b")
    result = call("amalgamate", *words)
    assert result.code == 0, result.err
    assert "branch seed 0: branches leave at" in result.err + result.out
    return root / "b"


def numbers(run: Path) -> list[dict[str, Any]]:
    """The rows of a run without what may differ between two runs of one recipe: time and memory."""
    rows = json.loads((run / "results.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if key not in VARYING} for row in rows]


def histories(run: Path) -> dict[str, list[Any]]:
    """Every history of a run, without times."""
    found = sorted(run.glob("fits/*/*/metrics.jsonl"))
    return {
        str(path.relative_to(run)): [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        for path in found
    }


def timeless(record: Any) -> Any:
    """A record without what took how long, at any depth."""
    if isinstance(record, list):
        return [timeless(part) for part in record]
    if not isinstance(record, dict):
        return record
    return {key: timeless(value) for key, value in record.items() if key not in VARYING}
