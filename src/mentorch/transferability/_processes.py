"""Networks in several processes of one machine."""

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import torch

from mentorch import zoo
from mentorch.transferability._engines import DIED, TRIES, Outcome, Work, arrays, attempt, tensors


def in_processes(work: Work, entries: Iterable[zoo.Entry], *, workers: int) -> Iterator[tuple[zoo.Entry, Outcome]]:
    """Networks in several processes of this machine; in the order in which they are ready.

    A process that dies is replaced, and its network tried again, three times in all: a network that brings its process
    down does not stop the others. Each worker holds one network at a time; nothing else waits in memory.

    Args:
        work: what is done to each.
        entries: networks.
        workers: processes.
    """
    waiting = deque((entry, 1) for entry in entries)
    threads = max(1, torch.get_num_threads() // workers)
    crew: dict[Any, _Worker] = {}
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                hired = _Worker.hire(work, threads)
                crew[hired.line] = hired
                hired.give(waiting.popleft())
            for line in wait(list(crew)):
                worker = crew[line]
                entry, tries = worker.holds
                outcome = worker.take()
                if outcome is not None and waiting:
                    worker.give(waiting.popleft())
                else:
                    crew.pop(line).dismiss()
                if outcome is None and tries < TRIES:
                    waiting.append((entry, tries + 1))
                else:
                    yield entry, DIED if outcome is None else outcome
    finally:
        for worker in crew.values():
            worker.dismiss()


@dataclass(frozen=True, eq=False)
class _Worker:
    """A process that waits for networks at the other end of a line."""

    process: Any
    line: Any
    hand: list[tuple[zoo.Entry, int]]

    @classmethod
    def hire(cls, work: Work, threads: int) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        line, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, work, threads), daemon=True)
        process.start()
        other.close()  # so that the line ends when the process does
        return cls(process, line, [])

    @property
    def holds(self) -> tuple[zoo.Entry, int]:
        return self.hand[-1]

    def give(self, task: tuple[zoo.Entry, int]) -> None:
        self.hand[:] = [task]
        with contextlib.suppress(OSError):  # it died on the way: the line says so when it is read
            self.line.send(task[0])

    def take(self) -> Outcome | None:
        """What became of it; None if the worker died."""
        try:
            return tensors(self.line.recv())
        except (EOFError, OSError):
            return None

    def dismiss(self) -> None:
        self.line.close()
        self.process.terminate()
        self.process.join()


def _serve(line: Any, work: Work, threads: int) -> None:
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError):  # the line ends with the work
        while True:
            line.send(arrays(attempt(work, line.recv())))
