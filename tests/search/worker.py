"""A worker of a search in a process of its own: ``worker.py RUN STORAGE TRIALS work|hang``.

One that hangs trains an epoch of its first trial, says so, and never goes on.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mentorch import On, fit
from mentorch.search import Space, search

EPOCHS = 3


def hang(training: Any) -> None:
    if training.checkpoints:
        print("hanging", flush=True)
        time.sleep(600)


def train(graph: Any, batches: Any, *, callbacks: tuple[On, ...] = (), **options: Any) -> Any:
    return plain(graph, batches, callbacks=(*callbacks, On("checkpoint", hang)), **options)


if __name__ == "__main__":
    from conftest import problem  # beside this file

    torch.set_num_threads(1)
    run, storage, trials, mode = sys.argv[1:]
    plain = partial(fit, tensorboard=False, device="cpu", progress=False)
    asked = problem(EPOCHS, fit=train if mode == "hang" else plain, about="a test")
    # what learns from labels alone needs no training beforehand, so that the first thing trained is a trial
    space = Space(("narrow", "wide"), 2, labels=("through",))
    found = search(asked, Path(run), space=space, trials=int(trials), storage=storage or None)
    print(len(found), flush=True)
