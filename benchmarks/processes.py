"""Distillation by two processes: ``fit`` beside a loop with torch's ``DistributedDataParallel``.

    python benchmarks/processes.py                                       # prints a table
    python benchmarks/processes.py --pairs tiny --steps 3 --repeats 1    # a short form

Both loops run in the same two processes (gloo, one thread each), in turns, on the same halves of the same batches; that
they end with the same student is checked. Milliseconds per step on the clock, as waiting for the other process is part
of a step; those of the first process.
"""

import argparse
import functools
import os
import statistics
import subprocess
import sys
import time

import torch
from _machine import keep_memory, machine
from _steps import kd_by_hand, spread
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import mentorch as mt
from mentorch import networks

PAIRS = {
    "tiny": ("cnn_small", "cnn_tiny"),
    "cifar": ("resnet20", "resnet8"),
    "wide": ("resnet8", "wrn_10_4"),  # a million weights to send, in a short step
}
SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def make(pair: str, batch_size: int, steps: int):
    """Teacher, student and batches, the same in both processes."""
    torch.manual_seed(0)
    teacher, student = (networks.build(name, num_classes=10) for name in PAIRS[pair])
    count = batch_size * steps * distributed.get_world_size()
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    split = mt.data.Split(images, torch.randint(0, 10, (count,)), torch.arange(count))
    return mt.freeze(teacher), student, mt.data.Batches(split, batch_size, shuffle=True)


def by_hand(teacher, student, batches) -> float:
    """Seconds of an epoch."""
    model = DistributedDataParallel(student)
    optimizer = SGD(model.parameters())
    model.train()
    began = time.perf_counter()
    for images, labels, _ in batches.iterate(0, 0, distributed.get_rank(), distributed.get_world_size()):
        with torch.no_grad():
            target = teacher(images)
        output = model(images)
        loss = kd_by_hand(output, target, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def by_fit(teacher, student, batches) -> float:
    """The same through ``fit``."""
    graph = mt.methods.distill(student, teacher, functools.partial(mt.losses.kd, temperature=4.0), labels=0.1)
    clock: list[float] = []
    callbacks = [mt.On(moment, lambda _: clock.append(time.perf_counter())) for moment in ("start", "epoch")]
    mt.fit(graph, batches, optimizer=SGD, epochs=1, callbacks=callbacks, progress=False, device="cpu")
    return clock[1] - clock[0]


LOOPS = {"hand": by_hand, "fit": by_fit}


def measure(pairs: list[str], batch_size: int, steps: int, repeats: int) -> None:
    """The rows, printed by the first process."""
    distributed.init_process_group("gloo")
    for pair in pairs:
        times: dict[str, list[float]] = {name: [] for name in LOOPS}
        for _ in range(repeats + 1):
            ends = []
            for name, loop in LOOPS.items():
                teacher, student, batches = make(pair, batch_size, steps)
                distributed.barrier()
                times[name].append(1e3 * loop(teacher, student, batches) / steps)
                ends.append(torch.nn.utils.parameters_to_vector(student.parameters()).detach())
            torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-5)
        hand, fit = (series[1:] for series in times.values())  # the first round warms up
        if distributed.get_rank() == 0:
            count = f"{len(ends[0]):,}"
            cells = (" -> ".join(PAIRS[pair]), count, f"{statistics.median(hand):.2f}", f"{statistics.median(fit):.2f}")
            print(f"| {' | '.join(cells)} | {spread(fit, hand)} |", flush=True)
    distributed.barrier()  # gloo may abort a process whose peer is gone first
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=32, help="of each process")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        measure(asked.pairs, asked.batch_size, asked.steps, asked.repeats)
        return
    print(f"{machine()}\n")
    print("| networks | weights of the student | DDP, ms | `fit`, ms | `fit` / DDP (min ... max) |")
    print("|---|---|---|---|---|", flush=True)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *sys.argv]
    raise SystemExit(subprocess.run([sys.executable, *command], check=False).returncode)


if __name__ == "__main__":
    main()
