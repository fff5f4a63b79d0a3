"""Time and memory of a step of ``fit`` against a hand-written minimal loop with the same networks, loss and batches.

    python benchmarks/step.py                 # all pairs, prints a table
    python benchmarks/step.py --repeats 3 --steps 20 --pairs tiny   # a short form

Both loops run in one process, alternating, on the same batches; the number is CPU time per step, median over repeats.
Peak memory is measured in a fresh process for each loop. The C library is told to keep freed memory: handing it back
and faulting it in again took a fifth of the time of either loop, and made the ratio a matter of luck.
"""

import argparse
import functools
import resource
import statistics
import time

import torch
from _machine import keep_memory
from _steps import kd_by_hand, peak_of, spread, step_of_fit

import mentorch as mt
from mentorch import networks

PAIRS = {
    "tiny": ("cnn_medium", "cnn_tiny", 1, 8),
    "cifar": ("resnet20", "resnet8", 3, 32),
    "cifar-large": ("resnet56", "resnet20", 3, 32),
}


def make(pair: str, batch_size: int, steps: int):
    """Teacher, student and batches, the same for both loops."""
    teacher_name, student_name, channels, size = PAIRS[pair]
    torch.manual_seed(0)
    teacher = networks.build(teacher_name, num_classes=10, in_channels=channels)
    student = networks.build(student_name, num_classes=10, in_channels=channels)
    count = batch_size * steps
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    split = mt.data.Split(images, torch.randint(0, 10, (count,)), torch.arange(count))
    return mt.freeze(teacher), student, mt.data.Batches(split, batch_size, shuffle=True, drop_last=True)


def by_hand(teacher, student, batches) -> float:
    """Distillation as one would write it down; CPU seconds per step."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
    student.train()
    began = time.process_time()
    for images, labels, _ in batches.iterate(0):
        with torch.no_grad():
            target = teacher(images)
        output = student(images)
        loss = kd_by_hand(output, target, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - began) / len(batches)


def by_fit(teacher, student, batches) -> float:
    """The same through ``fit``; CPU seconds per step, without what happens once per run."""
    graph = mt.methods.distill(student, teacher, functools.partial(mt.losses.kd, temperature=4.0), labels=0.1)
    make_optimizer = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    return step_of_fit(graph, batches, optimizer=make_optimizer)


LOOPS = {"by hand": by_hand, "fit": by_fit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=list(LOOPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    if options.memory:
        LOOPS[options.memory](*make(options.pairs[0], options.batch_size, 5))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print("| networks | batch | by hand, ms | fit, ms | ratio (min ... max) | peak memory by hand / fit, MiB |")
    print("|---|---|---|---|---|---|")
    for pair in options.pairs:
        times: dict[str, list[float]] = {name: [] for name in LOOPS}
        for _ in range(options.repeats + 1):
            for name, loop in LOOPS.items():
                times[name].append(1e3 * loop(*make(pair, options.batch_size, options.steps)))
        hand, fit = (series[1:] for series in times.values())  # the first round warms up
        memory = peak_of(__file__, list(LOOPS), "--pairs", pair, "--batch-size", options.batch_size)
        print(
            f"| {PAIRS[pair][0]} -> {PAIRS[pair][1]} | {options.batch_size} | {statistics.median(hand):.2f} "
            f"| {statistics.median(fit):.2f} | {spread(fit, hand, 3)} | {memory} |"
        )


if __name__ == "__main__":
    main()
