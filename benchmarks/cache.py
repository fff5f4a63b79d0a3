"""Time of a step of ``fit`` with a live teacher, with a teacher cache, and without any teacher.

    python benchmarks/cache.py                                              # all pairs, prints a table
    python benchmarks/cache.py --pairs resnet56 --steps 4 --repeats 3       # a short form

All run in one process, alternating, on the same augmented batches; the number is CPU time per step (median over
repeats). A cache cannot be faster than no teacher at all, so the last column is what could be gained. Networks are in
channels-last format, the faster one for all of them on a CPU. Filling the cache is not counted: it costs one pass of
the teacher over each view, and is paid once.
"""

import argparse
import functools
import statistics
import tempfile

import torch
from _machine import keep_memory
from _steps import spread, step_of_fit

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, Compose, Flip, PadCrop, Split
from mentorch.training import TeacherCache

# teacher, student, at least so many times faster
PAIRS = {
    "resnet32x4": ("resnet32x4", "resnet8x4", 2.5),
    "resnet56": ("resnet56", "resnet20", 1.8),
    "resnet50": ("resnet50", "mobilenet_v2", 7.0),
}
CLASSES = 100


def make(pair: str, batch_size: int, steps: int) -> tuple[torch.nn.Module, torch.nn.Module, Batches]:
    torch.manual_seed(0)
    teacher, student = (
        networks.build(name, num_classes=CLASSES).to(memory_format=torch.channels_last) for name in PAIRS[pair][:2]
    )
    count = batch_size * steps
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.randint(0, CLASSES, (count,)), torch.arange(count))
    augment = Compose((PadCrop(4), Flip()))
    return mt.freeze(teacher), student, Batches(split, batch_size, shuffle=True, augment=augment, views=1)


SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)


def once(way: str, pair: str, batch_size: int, steps: int, cache: TeacherCache) -> float:
    """CPU seconds of one step in one of three ways."""
    teacher, student, batches = make(pair, batch_size, steps)
    if way == "alone":
        return step_of_fit(mt.methods.supervise(student), batches, optimizer=SGD)
    graph = mt.methods.distill(student, teacher, functools.partial(mt.losses.kd, temperature=4.0))
    if way == "live":
        return step_of_fit(graph, batches, optimizer=SGD)
    cache.fill(graph, batches, progress=False)
    return step_of_fit(graph, batches, optimizer=SGD, cache=cache)


def measure(pair: str, batch_size: int, steps: int, repeats: int) -> str:
    """One row of the table."""
    times: dict[str, list[float]] = {"live": [], "cached": [], "alone": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            for way, series in times.items():
                series.append(1e3 * once(way, pair, batch_size, steps, TeacherCache(folder)))
    live, cached, alone = (series[1:] for series in times.values())  # the first round warms up
    bound = statistics.median(a / b for a, b in zip(live, alone, strict=True))
    middle = " | ".join(f"{statistics.median(series):.1f}" for series in (live, cached, alone))
    faster = spread(live, cached)
    return f"| {' -> '.join(PAIRS[pair][:2])} | {batch_size} | {middle} | {faster} | {PAIRS[pair][2]} | {bound:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    print(
        "| networks | batch | live, ms | cached, ms | no teacher, ms | times faster (min ... max) | goal | possible |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for pair in options.pairs:
        print(measure(pair, options.batch_size, options.steps, options.repeats), flush=True)


if __name__ == "__main__":
    main()
