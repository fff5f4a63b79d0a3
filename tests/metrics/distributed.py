"""One of two processes that measure together what one alone would: ``python distributed.py STORE RANK``."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

WORLD = 2
SPEC = importlib.util.spec_from_file_location("streaming", Path(__file__).with_name("test_streaming.py"))
streaming = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(streaming)


def check(name: str, rank: int) -> None:
    prediction, target = streaming.data(name.split()[0])
    alone, together = streaming.MAKE[name](), streaming.MAKE[name]()
    alone.update(prediction, target)
    mine = slice(0, 15) if rank == 0 else slice(15, None)  # 15 and 7 images, in batches of 4 and 5
    for p, t in zip(prediction[mine].split(4 + rank), target[mine].split(4 + rank), strict=True):
        together.update(p, t)
    together.reduce()
    assert streaming.numbers(together.compute()) == pytest.approx(streaming.numbers(alone.compute()), rel=1e-12)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank = int(sys.argv[2])
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(sys.argv[1], WORLD), rank=rank, world_size=WORLD
    )
    for name in streaming.MAKE:
        check(name, rank)
        print(name.replace(" ", "_"))
    lonely = streaming.MAKE["depth"]()
    if rank == 0:  # the other process saw no batch
        lonely.update(torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1, 2, 2))
    lonely.reduce()
    assert (lonely.compute().mae, lonely.compute().pixels) == (1.0, 4)
    print("nothing")
    torch.distributed.destroy_process_group()
