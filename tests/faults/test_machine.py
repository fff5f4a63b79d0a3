"""Disks that are full, folders that cannot be written, memory that is not there, clocks that jump."""

import ctypes
import errno
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch import On, RunError
from mentorch._files import locked
from mentorch.training import _checkpoint

from .runs import TRAIN, call, equal, graph, train

pytestmark = pytest.mark.usefixtures("alone")
RUN = Path("runs/r")


def ends() -> Any:
    """What a run of ``mentorch train`` ends with."""
    rows = json.loads((RUN / "results.json").read_text())["rows"]
    card = json.loads((RUN / "nodes/scratch-seed-0/card.json").read_text())
    return card["hash"], [
        {key: value for key, value in row.items() if key not in ("seconds", "peak_memory")} for row in rows
    ]


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What an undisturbed run ends with."""
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert call(*TRAIN, "--no-tensorboard") == (0, "")
    found = ends()
    monkeypatch.chdir(tmp_path)
    return found


def again() -> tuple[str, ...]:
    return ("--resume",) if (RUN / "recipe.yaml").exists() else ()


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_disk_that_is_full_at_any_write(
    step: int, whole: Any, monkeypatch: pytest.MonkeyPatch, count: Callable[..., None]
) -> None:
    """A write that waits for the disk fails, the first, a later one, ... until none is left to fail."""
    sync, failed = os.fsync, 0
    for number in itertools.count(0, step):
        calls = itertools.count()

        def full(file: int, calls: Iterator[int] = calls, number: int = number) -> None:
            if next(calls) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(file)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            code, error = call(*TRAIN, "--no-tensorboard", "--out", f"out-{number}")
        if code == 0:
            break
        assert code == 1
        assert "No space left on device" in error
        run = Path(f"out-{number}") / "r"
        words = ("--resume",) if (run / "recipe.yaml").exists() else ()
        assert call(*TRAIN, "--no-tensorboard", "--out", f"out-{number}", *words) == (0, "")
        monkeypatch.chdir(f"out-{number}")
        Path("runs").symlink_to(".")
        assert ends() == whole
        monkeypatch.chdir("..")
        failed += 1
    assert failed > 1
    count(full_disks=failed)


@pytest.mark.parametrize("limit", [0, 300, 3000, 30_000])
def test_files_that_may_not_grow(limit: int, whole: Any, count: Callable[..., None]) -> None:
    """With TensorBoard's files, which are not ours."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        code, error = call(*TRAIN, "--tensorboard")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == (0 if limit == 30_000 else 1)
    assert code == 0 or "File too large" in error
    assert call(*TRAIN, "--tensorboard", *again()) == (0, "")
    assert ends() == whole
    count(full_disks=1)


def test_a_small_disk(whole: Any, tmp_path: Path, count: Callable[..., None]) -> None:
    (tmp_path / "runs").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path / "runs")]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only a superuser can mount a small file system")
    try:
        ballast = tmp_path / "runs/ballast"
        ballast.write_bytes(bytes(240 << 10))
        code, error = call(*TRAIN, "--no-tensorboard")
        assert code == 1
        assert "No space left on device" in error
        ballast.unlink()
        assert call(*TRAIN, "--no-tensorboard", *again()) == (0, "")
        assert ends() == whole
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / "runs")], check=True)
    count(full_disks=1)


def obey() -> None:
    """Make the modes of files mean something to a superuser's program, too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_that_cannot_be_written(begun: bool, count: Callable[..., None]) -> None:
    if begun:
        assert call(*TRAIN, "--no-tensorboard") == (0, "")
    RUN.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    for path in (RUN.parent, *RUN.parent.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    words = [sys.executable, "-m", "mentorch", *TRAIN, "--no-tensorboard", *again()]
    left = subprocess.run(words, capture_output=True, text=True, preexec_fn=obey, check=False)
    assert left.returncode == 1, left.stderr
    (error,) = left.stderr.splitlines()
    assert error.startswith("error: cannot use folder runs/r: Permission denied")
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before
    count(folders_that_cannot_be_written=1)


@pytest.mark.parametrize(
    "words",
    [
        TRAIN,
        ("evolve", "--network", "cnn_tiny", "--train-size", "80", "--generations", "2", "--name", "r"),
        ("compare", "--teacher", "cnn_tiny", "--student", "cnn_tiny", "--train-size", "80", "--name", "r"),
    ],
)
def test_two_runs_in_one_folder(words: tuple[str, ...], count: Callable[..., None]) -> None:
    with locked(RUN):
        code, error = call(*words)
        assert (code, error) == (1, "error: folder runs/r is in use by another live process")
    assert sorted(path.name for path in RUN.iterdir()) == [".lock"]
    count(folders_in_use=1)


def test_a_clock_that_jumps(whole: Any, monkeypatch: pytest.MonkeyPatch, count: Callable[..., None]) -> None:
    """To and fro by years, at every look: nothing that is computed depends on it."""
    jumps = itertools.cycle((1e9, -1e9, 0.0, 1e6))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    assert call(*TRAIN, "--no-tensorboard") == (0, "")
    assert ends() == whole
    count(clocks_that_jump=1)


@pytest.mark.parametrize("at", [4, 7, 10])
def test_a_batch_that_needs_too_much_memory(at: int, tmp_path: Path, count: Callable[..., None]) -> None:
    made, calls = graph(), itertools.count(1)

    def greedy(*_: Any) -> None:
        if next(calls) == at:
            torch.empty(1 << 50)

    made.nodes["student"].register_forward_hook(greedy)
    with pytest.raises(
        RunError, match=r"^out of memory in epoch \d, after step \d of 12; the checkpoint of step"
    ) as one:
        train(made, tmp_path / "r")
    assert "\n" not in str(one.value)
    assert _checkpoint.steps(tmp_path / "r/checkpoints")[-1] == (at - 2) // 2 * 2
    assert equal(train(graph(), tmp_path / "r"), train(graph(), tmp_path / "whole"))
    count(batches_without_memory=1)


def test_a_callback_that_fails_loses_nothing(tmp_path: Path) -> None:
    def fail(training: Any) -> None:
        if training.step == 7:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(graph(), tmp_path / "r", callbacks=(On("step", fail),))
    assert equal(train(graph(), tmp_path / "r"), train(graph(), tmp_path / "whole"))
