"""A program whose children write one cache at the same time and are killed while they do.

``cache_writers.py rows FILE`` or ``cache_writers.py fill FOLDER``; what was found is one line of JSON.
"""

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mentorch import Edge, Graph, freeze
from mentorch.data import Batches, Compose, Flip, PadCrop, Split
from mentorch.training import TeacherCache
from mentorch.training._cache_rows import Rows

COUNT, SIZE, WRITERS = 24, 1 << 16, 4


def die_while(work: Callable[[int], None], writers: int, longest: float, look: Callable[[], None] = int) -> int:
    """Let some processes work at the same time, kill one after the other and look; how many did not finish before."""
    children = []
    for writer in range(writers):
        child = os.fork()
        if not child:
            try:
                work(writer)
                os._exit(0)
            finally:
                os._exit(1)  # whatever happened, a child never goes on as its parent
        children.append(child)
    for child in children:
        time.sleep(random.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        look()
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert not any(os.WIFEXITED(end) and os.WEXITSTATUS(end) for end in ends), "a writer failed"
    return sum(map(os.WIFSIGNALED, ends))


def row(number: torch.Tensor, writer: int) -> torch.Tensor:
    """Bytes that tell who wrote them where: constant within a row."""
    return ((number * WRITERS + writer) % 256).to(torch.uint8)[:, None].repeat(1, SIZE)


def rows(path: Path) -> dict[str, int]:
    """Rows are only ever seen as one writer wrote them."""
    table = Rows(path, COUNT, SIZE)
    everything = torch.arange(COUNT)
    found = {"killed": 0, "whole": 0, "torn": 0, "wrong": 0}

    def write(writer: int) -> None:
        generator = torch.Generator().manual_seed(time.monotonic_ns())
        mine = Rows(path, COUNT, SIZE)
        while True:
            some = torch.randperm(COUNT, generator=generator)[:5]
            mine.write(some, row(some, writer))

    def look() -> None:
        data, whole = table.read(everything)
        torn = whole & (data != data[:, :1]).any(dim=1)
        named = torch.stack([data[:, 0] == row(everything, writer)[:, 0] for writer in range(WRITERS)]).any(dim=0)
        found["whole"] += int(whole.sum())
        found["torn"] += int(torn.sum())
        found["wrong"] += int((whole & ~named).sum())

    for _ in range(12):
        found["killed"] += die_while(write, WRITERS, 0.02, look)
    table.write(everything, row(everything, 0))
    found["complete"] = int(table.complete())
    return found


def fill(folder: Path) -> dict[str, int]:
    """Processes that fill one cache, killed again and again, leave what a teacher shows live."""
    images = torch.randint(0, 256, (120, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(120, dtype=torch.int64), torch.arange(120) * 2)
    batches = Batches(split, 16, shuffle=True, augment=Compose((PadCrop(1), Flip())), views=3)
    torch.manual_seed(0)
    teacher = freeze(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)))
    graph = Graph(
        {"teacher": teacher, "student": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))},
        [Edge("teacher", "student", nn.functional.mse_loss)],
    )
    cache = TeacherCache(folder)
    killed = sum(die_while(lambda _: cache.fill(graph, batches, progress=False), 3, 0.02) for _ in range(8))
    cache.fill(graph, batches, progress=False)
    opened = cache.open(graph, batches)
    wrong = 0
    for epoch in range(3):
        for batch in batches.iterate(epoch):
            given = opened.given(batch.inputs, batch.index, epoch=epoch)
            wrong += int((given["teacher"] != teacher(batch.inputs)).any(dim=1).sum())
    return {"killed": killed, "wrong": wrong, "complete": int(all(opened.complete(view) for view in range(3)))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    random.seed(time.monotonic_ns())
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps({"rows": rows(Path(place) / "rows"), "fill": fill(Path(place) / "cache")}))
