"""What a run tells the world: records in files, TensorBoard, and a progress bar."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from mentorch._files import append_text, in_lines, write_text
from mentorch.training._history import History


class Logger(Protocol):
    """Something that hears of every interval and every epoch."""

    def interval(self, step: int, losses: Mapping[str, float]) -> None: ...
    def epoch(self, history: History) -> None: ...


class Files:
    """``metrics.jsonl`` and ``history.csv`` of a run folder.

    The first is written whole once, with all that the run knows already, and then grows by the epochs since, once a
    second at most: what a killed process left, a half line too, is gone when the run goes on. The second, whose
    columns may be other ones with every epoch, is written at the end.
    """

    def __init__(self, run: Path, history: History):
        self.run, self.history = run, history
        self._kept = 0  # records in the file; none of them is from this process yet
        self._written = -math.inf

    def interval(self, step: int, losses: Mapping[str, float]) -> None:
        """Nothing: files are per epoch."""

    def epoch(self, history: History) -> None:
        """Write the records since the last time, if that was a while ago."""
        if time.monotonic() - self._written >= 1.0:
            self._write()

    def close(self) -> None:
        """Write what was not written yet."""
        if self.history.records:
            self._write()
            write_text(self.run / "history.csv", self.history.to_csv(), durable=False)

    def _write(self) -> None:
        kept, self._kept = self._kept, 0  # whole again, should this fail
        lines = in_lines(self.history.records[kept:])
        if kept:
            append_text(self.run / "metrics.jsonl", lines)
        else:
            write_text(self.run / "metrics.jsonl", lines, durable=False)
        self._kept, self._written = len(self.history.records), time.monotonic()


class TensorBoard:
    """Event files of a run folder."""

    def __init__(self, run: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def interval(self, step: int, losses: Mapping[str, float]) -> None:
        """Losses per edge at a step."""
        for name, value in losses.items():
            self._writer.add_scalar(f"loss/{_tag(name)}", value, step)

    def epoch(self, history: History) -> None:
        """Metrics and learning rates at the end of an epoch."""
        record = history.records[-1]
        for node, metrics in record.get("validation", {}).items():
            for name, value in metrics.items():
                self._writer.add_scalar(f"{_tag(node)}/{_tag(name)}", value, record["step"])
        for name, value in record["lr"].items():
            self._writer.add_scalar(f"lr/{_tag(name)}", value, record["step"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def _tag(name: str) -> str:
    return name.replace(" -> ", "_to_").replace(": ", "/").replace(" ", "_")


class Bar:
    """A progress bar on a terminal: epoch, loss per edge, rate and time left; silent elsewhere."""

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, short: Mapping[str, str]):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),  # names of edges may have brackets
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        total = epochs * steps_per_epoch
        self._task = self._progress.add_task("", total=total, completed=done, epoch=f"1/{epochs}", rate="", text="")
        self._epochs, self._per_epoch, self._short = epochs, steps_per_epoch, short
        self._shown = 0.0
        self._first: tuple[float, int] | None = None
        self._score = ""
        self._progress.start()

    def advance(self, micro_step: int, samples: int) -> None:
        """Show the position, at most ten times a second."""
        now = time.monotonic()
        if now - self._shown < 0.1:
            return
        self._shown = now
        first = self._first = self._first or (now, samples)
        rate = f"{(samples - first[1]) / (now - first[0]):,.0f} samples/s" if now > first[0] else ""
        epoch = min(micro_step // self._per_epoch + 1, self._epochs)
        self._progress.update(self._task, completed=micro_step, epoch=f"{epoch}/{self._epochs}", rate=rate)

    def interval(self, step: int, losses: Mapping[str, float]) -> None:
        """Show the losses."""
        text = "  ".join(f"{self._short.get(name, name)} {value:.3g}" for name, value in losses.items())
        self._progress.update(self._task, text=f"{text}  {self._score}")

    def epoch(self, history: History) -> None:
        """Show the first validation metric."""
        for node, metrics in history.records[-1].get("validation", {}).items():
            for name, value in metrics.items():
                self._score = f"{node} {name} {value:.4g}"
                return

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


@contextlib.contextmanager
def opened(
    run: Path | None,
    tensorboard: bool,
    progress: bool,
    *,
    history: History,
    epochs: int,
    steps: int,
    done: int,
    step: int,
    short: Mapping[str, str],
) -> Iterator[tuple[list[Logger], Bar | None]]:
    """The loggers that apply, closed at the end whatever happens."""
    with contextlib.ExitStack() as stack:
        loggers: list[Logger] = []
        if run is not None:
            files = Files(run, history)
            stack.callback(files.close)
            loggers.append(files)
            if tensorboard:
                board = TensorBoard(run, step)
                stack.callback(board.close)
                loggers.append(board)
        bar = None
        if progress and sys.stderr.isatty():
            bar = Bar(epochs, steps, done, short)
            stack.callback(bar.close)
            loggers.append(bar)
        yield loggers, bar


def short_names(names: list[str]) -> dict[str, str]:
    """Names of edges as they fit on one line: the loss where that is unique.

    >>> short_names(["labels -> student: ce", "teacher -> student: kd"])
    {'labels -> student: ce': 'ce', 'teacher -> student: kd': 'kd'}
    """
    last: dict[str, str] = {name: name.rpartition(": ")[2] for name in names}
    return {name: short if list(last.values()).count(short) == 1 else name for name, short in last.items()}
