"""Several students against one forward pass of their teacher, beside the same students in runs of their own.

    python benchmarks/together.py                                        # prints a table
    python benchmarks/together.py --pairs tiny --steps 10 --repeats 1    # a short form

Distillation through ``fit``; all students see the same batches, and each ends with the same bits either way (checked).
CPU time per step of all students, the two forms alternate in one process.
"""

import argparse
import functools
import statistics

import torch
from _steps import spread, step_of_fit
from step import PAIRS, make

import mentorch as mt
from mentorch import networks

KD = functools.partial(mt.losses.kd, temperature=4.0)
SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def students(pair: str, count: int) -> dict[str, torch.nn.Module]:
    _, name, channels, _ = PAIRS[pair]
    torch.manual_seed(1)
    return {f"s{i}": networks.build(name, num_classes=10, in_channels=channels) for i in range(count)}


def trained(teacher, learners, batches) -> float:
    """CPU seconds per step."""
    edges = [
        edge
        for name in learners
        for edge in (mt.Edge("labels", name, mt.losses.cross_entropy, 0.1), mt.Edge("teacher", name, KD, 0.9))
    ]
    graph = mt.Graph({"teacher": teacher, **learners}, edges)
    optimizer = dict.fromkeys(learners, SGD)
    return step_of_fit(graph, batches, optimizer=optimizer)


def compared(pair: str, count: int, steps: int) -> tuple[float, float]:
    """Milliseconds per step: each in a run of its own, and all together."""
    teacher, _, batches = make(pair, 64, steps)
    alone, together = students(pair, count), students(pair, count)
    apart = sum(trained(teacher, {name: each}, batches) for name, each in alone.items())
    once = trained(teacher, together, batches)
    for name, each in alone.items():
        for key, value in each.state_dict().items():
            assert torch.equal(value, together[name].state_dict()[key]), (name, key)
    return 1e3 * apart, 1e3 * once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| networks | students | apart, ms | together, ms | times faster |\n|---|---|---|---|---|")
    for pair in options.pairs:
        times = [compared(pair, options.students, options.steps) for _ in range(options.repeats)]
        apart, once = zip(*times, strict=True)
        cells = (
            " -> ".join(PAIRS[pair][:2]),
            str(options.students),
            f"{statistics.median(apart):.1f}",
            f"{statistics.median(once):.1f}",
            spread(apart, once),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
