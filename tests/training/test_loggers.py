"""What a run tells the world: whole files, TensorBoard events, and a bar on terminals only."""

import contextlib
import itertools
import json
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from mentorch import Edge, Graph, History, On, RunError, fit
from mentorch.training import _loggers
from mentorch.training._loggers import Bar, Files, opened, short_names

MakeData = Callable[..., list[tuple[Tensor, Tensor]]]
MakeGraph = Callable[..., Graph]

SGD = partial(torch.optim.SGD, lr=0.1)


def test_files_hold_every_record(linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    history = fit(linear(), data(3), optimizer=SGD, epochs=3, validation=data(2), run=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history.records
    assert (tmp_path / "history.csv").read_text() == history.to_csv()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "checkpoints",
        "history.csv",
        "metrics.jsonl",
        "tensorboard",
    ]


def test_files_of_a_resumed_run_are_those_of_one_run(linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    """The epoch whose checkpoint was not written is neither missing nor there twice."""

    def run(folder: str, stop: int = 99) -> list[Any]:
        callbacks = [On("epoch", lambda _: 1 / 0, at=[stop])]
        fit(linear(), data(3), optimizer=SGD, epochs=4, run=tmp_path / folder, resume=True, callbacks=callbacks)
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        return [{**json.loads(line), "seconds": 0} for line in lines]

    with pytest.raises(ZeroDivisionError):
        run("killed", stop=3)
    assert run("killed") == run("whole")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "metrics.jsonl" / "x").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*metrics.jsonl"):
        Files(tmp_path, history := History([{"epoch": 1}])).epoch(history)


def epochs_in(run: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_files_are_written_at_most_once_a_second_and_whole_at_the_end(tmp_path: Path) -> None:
    files = Files(tmp_path, history := History())
    for epoch in range(1, 6):
        history.records.append({"epoch": epoch})
        files.epoch(history)
    assert epochs_in(tmp_path) == [1]  # five epochs within a second: one write
    files.close()
    assert epochs_in(tmp_path) == [1, 2, 3, 4, 5]
    assert (tmp_path / "history.csv").read_text() == history.to_csv()


def test_an_epoch_costs_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the run is."""
    clock, written = itertools.count(0.0, 2.0), []

    def counted(write: Callable[..., None], path: Path, text: str, **more: bool) -> None:
        written.append(len(text))
        write(path, text, **more)

    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for name in ("write_text", "append_text"):
        monkeypatch.setattr(_loggers, name, partial(counted, getattr(_loggers, name)))
    files = Files(tmp_path, history := History())
    for epoch in range(1, 10):
        history.records.append({"epoch": epoch})
        files.epoch(history)
    assert len(set(written)) == 1
    assert epochs_in(tmp_path) == list(range(1, 10))


def test_a_run_that_goes_on_drops_what_a_killed_one_left_half(tmp_path: Path) -> None:
    """Epochs after the checkpoint, the last of them cut short."""
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    files = Files(tmp_path, history := History([{"epoch": 1}]))
    history.records.append({"epoch": 2})
    files.epoch(history)
    assert epochs_in(tmp_path) == [1, 2]


def test_a_run_that_was_killed_at_its_very_end_has_all_records(tmp_path: Path) -> None:
    with opened(tmp_path, False, False, history=History([{"epoch": 1}]), epochs=1, steps=1, done=1, step=1, short={}):
        pass
    assert epochs_in(tmp_path) == [1]
    assert (tmp_path / "history.csv").exists()


def test_after_a_write_that_failed_files_are_whole_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path, history := History([{"epoch": 1}]))
    files.epoch(history)
    history.records.append({"epoch": 2})

    def half(path: Path, text: str) -> None:
        path.write_text(path.read_text() + text[:4])
        raise RunError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(_loggers, "append_text", half)
        with pytest.raises(RunError, match="no space"):
            files.close()
    files.close()
    assert epochs_in(tmp_path) == [1, 2]


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_events_are_on_by_default(linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    history = fit(linear(), data(5), optimizer=SGD, epochs=2, validation=data(2), run=tmp_path, log_every=2)
    found = events(tmp_path)
    assert sorted(found) == [
        "loss/labels_to_student/cross_entropy",
        "loss/teacher_to_student/mse_loss",
        "lr/all",
        "student/accuracy",
        "student/cross_entropy",
    ]
    assert [step for step, _ in found["loss/labels_to_student/cross_entropy"]] == [2, 4, 6, 8, 10]
    assert found["student/accuracy"] == [
        (record["step"], pytest.approx(record["validation"]["student"]["accuracy"])) for record in history.records
    ]
    assert found["lr/all"] == [(5, pytest.approx(0.1)), (10, pytest.approx(0.1))]
    fit(linear(), data(5), optimizer=SGD, epochs=1, run=tmp_path / "off", tensorboard=False)
    assert not (tmp_path / "off" / "tensorboard").exists()


def test_tensorboard_shows_a_resumed_run_as_one(linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    """What came after the checkpoint is purged, what came up to it stays."""

    def run(folder: str, stop: int = 99) -> dict[str, Any]:
        callbacks = [On("step", lambda _: 1 / 0, at=[stop])]
        options: dict[str, Any] = {"epochs": 3, "validation": data(2), "log_every": 1, "resume": True}
        try:
            fit(linear(), data(4), optimizer=SGD, run=tmp_path / folder, callbacks=callbacks, **options)
        finally:
            found = events(tmp_path / folder)
        return found

    with pytest.raises(ZeroDivisionError):
        run("killed", stop=7)  # the checkpoint is that of step 4
    killed, whole = run("killed"), run("whole")
    assert killed == whole


def test_no_epoch_of_tensorboard_without_validation(linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    fit(linear(), data(2), optimizer=SGD, epochs=1, run=tmp_path)
    assert sorted(events(tmp_path)) == ["lr/all"]  # fewer steps than log_every


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], str]:
    """``on_terminal(function)``: what it shows on standard error if that is a terminal."""

    def run(function: Callable[[], object]) -> str:
        shown: list[bytes] = []

        def read() -> None:
            with contextlib.suppress(OSError):  # the other end is closed
                while part := os.read(terminal, 65536):
                    shown.append(part)

        terminal, end = pty.openpty()
        reader = threading.Thread(target=read)
        reader.start()
        with monkeypatch.context() as patch, os.fdopen(end, "w") as stderr:
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "140")
            patch.setattr(sys, "stderr", stderr)
            function()
        reader.join(10)
        os.close(terminal)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(shown).decode())

    return run


OnTerminal = Callable[[Callable[[], object]], str]


def test_the_bar_shows_epoch_losses_rate_and_time_left(
    on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show() -> None:
        clock = iter(range(1000))
        monkeypatch.setattr(_loggers, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        bar = Bar(3, 10, 0, short_names(["labels -> s: cross_entropy", "teacher -> s: kd"]))
        record: dict[str, Any] = {"validation": {"s": {"accuracy": 0.875}}}
        bar.epoch(History([record]))
        for step in range(1, 22):
            bar.advance(step, step * 32)
            bar.interval(step, {"labels -> s: cross_entropy": 1.25, "teacher -> s: kd": 0.5})
        bar._progress.refresh()
        bar.close()

    shown = on_terminal(show)
    assert "epoch 3/3" in shown
    assert "21/30" in shown
    assert "32 samples/s" in shown
    assert "cross_entropy 1.25  kd 0.5" in shown
    assert "s accuracy 0.875" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)


def test_a_run_on_a_terminal_and_elsewhere(
    linear: MakeGraph, data: MakeData, on_terminal: OnTerminal, capfd: Any
) -> None:
    def train(**options: Any) -> None:
        fit(linear(), data(4), optimizer=SGD, epochs=3, log_every=1, validation=data(1), **options)

    def slowly() -> None:
        train(callbacks=[On("step", lambda _: time.sleep(0.11))])

    shown = on_terminal(slowly)
    assert "epoch 1/3" in shown
    assert re.search(r"\d+/12", shown)
    assert "cross_entropy" in shown
    assert "student accuracy" in shown
    assert on_terminal(partial(train, progress=False)).strip() == ""
    capfd.readouterr()
    train()
    assert capfd.readouterr() == ("", "")


def test_names_with_brackets_are_shown_as_they_are(data: MakeData, on_terminal: OnTerminal) -> None:
    def train() -> None:
        graph = Graph({"s": nn.Linear(4, 3)}, [Edge("labels", "s", F.cross_entropy, name="a [/b] [red]c")])
        fit(graph, data(4), optimizer=SGD, epochs=2, log_every=1)

    assert "a [/b] [red]c" in on_terminal(train)


def test_everything_is_closed_also_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(_loggers.TensorBoard, "close", lambda self: closed.append("board"))
    options: dict[str, Any] = {"history": History(), "epochs": 1, "steps": 1, "done": 0, "step": 0, "short": {}}

    def use() -> None:
        with opened(tmp_path, True, False, **options) as (loggers, bar):
            closed.extend(type(logger).__name__ for logger in loggers)
            assert bar is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert closed == ["Files", "TensorBoard", "board"]
    with opened(None, True, False, **options) as (loggers, _):
        assert loggers == []


def test_short_names() -> None:
    names = ["labels -> a: ce", "t -> a: kd", "t -> b: kd", "odd"]
    short = short_names(names)
    assert short == {"labels -> a: ce": "ce", "t -> a: kd": "t -> a: kd", "t -> b: kd": "t -> b: kd", "odd": "odd"}
    assert short_names([]) == {}
