"""What each option of the fast path is worth on this machine, and what it changes in the numbers.

    python benchmarks/fast.py                                     # all networks, prints a table
    python benchmarks/fast.py --networks tiny --steps 20 --repeats 2 --options plain channels-last     # a short form

A graph of three networks that all teach each other, through ``fit``: CPU time per step, options in turn in one
process, the first epoch not counted (it compiles). *differ by*: how far the losses and the gradient of the first batch
are from those of float32 without options, as a share of their norm. The process keeps freed memory, as the command line
does; ``--as-is`` leaves the C library as it is. Compiling takes a minute or more and is left out unless asked for:
``--options plain compile ...``. Options are joined by ``+``.
"""

import argparse
import contextlib
import functools
import os
import statistics
import time

import torch
from _steps import spread
from graph import GRAPHS, NETWORKS, make, matrix
from torch import Tensor

import mentorch as mt
from mentorch.cli._memory import keep_freed_memory

OPTIONS = ("plain", "fused", "denormals", "channels-last", "bf16", "channels-last+bf16")


def graph_of(network: str, kind: str, count: int, steps: int, options: set[str]):
    """The graph with its batches, laid out as asked for."""
    made, batches = make(network, count, 64, steps)
    graph = mt.methods.from_matrix({f"n{i}": each for i, each in enumerate(made)}, matrix(kind, count))
    if "channels-last" in options:
        graph.to(memory_format=torch.channels_last)
    return graph, batches


def step_time(network: str, kind: str, count: int, steps: int, options: set[str]) -> float:
    """CPU milliseconds per step of the second epoch of ``fit``."""
    torch.set_flush_denormal("denormals" in options)
    graph, batches = graph_of(network, kind, count, steps, options)
    sgd = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9, fused="fused" in options)
    clock: list[float] = []
    mt.fit(
        graph,
        batches,
        optimizer=dict.fromkeys(graph.learning, sgd),
        epochs=2,
        compile="compile" in options,
        channels_last="channels-last" in options,
        precision="bf16-mixed" if "bf16" in options else "32-true",
        callbacks=[mt.On("epoch", lambda _: clock.append(time.process_time()))],
        progress=False,
        device="cpu",
    )
    return 1e3 * (clock[1] - clock[0]) / len(batches)


def numbers(network: str, kind: str, count: int, options: set[str]) -> list[Tensor]:
    """Losses and gradient of the first batch, as two vectors."""
    graph, batches = graph_of(network, kind, count, 1, options)
    if "compile" in options:
        graph.compile()
    inputs, labels, _ = next(iter(batches))
    with torch.autocast("cpu", torch.bfloat16) if "bf16" in options else contextlib.nullcontext():
        losses = graph(inputs, labels, progress=0.5)
    sum(losses.values()).backward()
    gradients = [parameter.grad.flatten() for parameter in graph.parameters() if parameter.grad is not None]
    return [torch.stack(list(losses.values())).detach(), torch.cat(gradients)]


def measure(network: str, kind: str, count: int, options: list[str], steps: int, repeats: int) -> None:
    asked = {name: set(name.split("+")) for name in options}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(repeats):
        for name, each in asked.items():
            times[name].append(step_time(network, kind, count, steps, each))
    plain = numbers(network, kind, count, set())
    for name, each in asked.items():
        off = [
            float((a - b).norm() / b.norm()) for a, b in zip(numbers(network, kind, count, each), plain, strict=True)
        ]
        cells = (
            f"{count} x {NETWORKS[network][0]}",
            kind,
            name.replace("+", ", "),
            f"{statistics.median(times[name]):.2f}",
            spread(times["plain"], times[name]),
            *(f"{share:.0e}" for share in off),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--kind", default="full", choices=sorted({kind for kind, _ in GRAPHS}))
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), metavar="OPTION+OPTION")
    parser.add_argument("--as-is", action="store_true", help="let the C library hand freed memory back")
    options = parser.parse_args()
    if any(name.startswith("MALLOC_") for name in os.environ):
        parser.error("MALLOC_... is set: unset it, this program decides about freed memory")
    if not options.as_is:
        keep_freed_memory()
    torch.set_num_threads(1)
    print("| networks | graph | options | ms per step | times faster | losses differ by | gradient differs by |")
    print("|---|---|---|---|---|---|---|")
    for network in options.networks:
        measure(network, options.kind, options.nodes, options.options, options.steps, options.repeats)


if __name__ == "__main__":
    main()
