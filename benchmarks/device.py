"""Images per second of distillation on a device: what each option of ``fit`` is worth beside a loop written by hand.

    python benchmarks/device.py --device cuda                   # both pairs, batches of 64 and 512
    python benchmarks/device.py --pairs tiny --batch-sizes 8 --steps 2 --repeats 1 --loops hand fit    # a short form

Images, labels and augmentation are on the device, so that nothing waits for a loader. Wall time of the second epoch,
with the device done; the first one warms up, compiles, and fills the cache. Loops alternate in one process. TFLOP/s
counts two for each multiplication of the forward passes, and twice the student's for its backward pass; a cached
teacher counts as nothing.
"""

import argparse
import functools
import statistics
import tempfile
import time

import torch
from _machine import keep_memory, machine
from _steps import kd_by_hand, spread

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, Compose, Flip, PadCrop, Split
from mentorch.training import TeacherCache

PAIRS = {
    "tiny": ("cnn_medium", "cnn_tiny"),
    "resnet56": ("resnet56", "resnet20"),
    "resnet32x4": ("resnet32x4", "resnet8x4"),
}
CLASSES, T = 100, 4.0
SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
LOOPS = {
    "hand": "loop by hand",
    "hand+fast": "loop by hand, channels-last, bf16",
    "fit": "`fit`",
    "fit+fast": "`fit`, channels-last, bf16",
    "fit+fast+compile": "`fit`, channels-last, bf16, compiled",
    "fit+fast+graphs": "`fit`, channels-last, bf16, compiled with CUDA graphs",
    "fit+fast+cache": "`fit`, channels-last, bf16, cached",
    "fit+fast+compile+cache": "`fit`, channels-last, bf16, compiled, cached",
    "fit+fast+graphs+cache": "`fit`, channels-last, bf16, compiled with CUDA graphs, cached",
}


def make(pair: str, batch_size: int, steps: int, device: torch.device) -> tuple[mt.Graph, Batches]:
    """Teacher, student and batches, all on the device."""
    torch.manual_seed(0)
    teacher, student = (networks.build(name, num_classes=CLASSES).to(device) for name in PAIRS[pair])
    count = batch_size * steps
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    split = Split(*(x.to(device) for x in (images, torch.randint(0, CLASSES, (count,)), torch.arange(count))))
    graph = mt.methods.distill(student, mt.freeze(teacher), functools.partial(mt.losses.kd, temperature=T), labels=0.1)
    return graph, Batches(split, batch_size, shuffle=True, augment=Compose((PadCrop(4), Flip())), views=1)


def now(device: torch.device) -> float:
    """Seconds, with everything done that was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def by_hand(graph: mt.Graph, batches: Batches, device: torch.device, options: set[str]) -> float:
    """Seconds per step of the second epoch of a loop as one would write it."""
    teacher, student, fast = graph.nodes["teacher"], graph.nodes["student"], "fast" in options
    if fast:
        teacher.to(memory_format=torch.channels_last)
        student.to(memory_format=torch.channels_last)
    optimizer = SGD(student.parameters())
    student.train()
    for epoch in range(2):
        began = now(device)
        for images, labels, _ in batches.iterate(epoch):
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                with torch.no_grad():
                    target = teacher(images)
                output = student(images)
            loss = kd_by_hand(output.float(), target.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return (now(device) - began) / len(batches)


def by_fit(graph: mt.Graph, batches: Batches, device: torch.device, options: set[str]) -> float:
    """The same through ``fit``."""
    clock: list[float] = []
    if "graphs" in options:
        graph.compile(mode="reduce-overhead")
    with tempfile.TemporaryDirectory() as folder:
        mt.fit(
            graph,
            batches,
            optimizer=SGD,
            epochs=2,
            compile="compile" in options,
            channels_last="fast" in options,
            precision="bf16-mixed" if "fast" in options else "32-true",
            cache=TeacherCache(folder) if "cache" in options else None,
            callbacks=[mt.On("epoch", lambda _: clock.append(now(device)))],
            progress=False,
            device=device.type,
        )
    return (clock[1] - clock[0]) / len(batches)


def work(graph: mt.Graph, options: set[str]) -> float:
    """Floating-point operations for each image."""
    macs = {name: networks.cost(graph.nodes[name].cpu(), torch.zeros(1, 3, 32, 32)).macs for name in graph.nodes}
    return 2.0 * (3 * macs["student"] + (0 if "cache" in options else macs["teacher"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--pairs", nargs="+", default=["resnet56", "resnet32x4"], choices=list(PAIRS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=list(LOOPS))
    asked = parser.parse_args()
    keep_memory()
    device = asked.device
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else machine())
    print("| networks | batch | loop | ms per step | images per second | times the first (min ... max) | TFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    for pair in asked.pairs:
        for size in asked.batch_sizes:
            times: dict[str, list[float]] = {name: [] for name in asked.loops}
            for _ in range(asked.repeats):
                for name, series in times.items():
                    options = set(name.split("+"))
                    loop = by_hand if "hand" in options else by_fit
                    series.append(loop(*make(pair, size, asked.steps, device), device, options))
            graph, first = make(pair, size, 1, device)[0], times[asked.loops[0]]
            for name, series in times.items():
                middle = statistics.median(series)
                rate = work(graph, set(name.split("+"))) * size / middle / 1e12
                row = (" -> ".join(PAIRS[pair]), size, LOOPS[name], f"{middle * 1e3:.2f}", f"{size / middle:,.0f}")
                print(f"| {' | '.join(map(str, (*row, spread(first, series), f'{rate:.2f}')))} |", flush=True)


if __name__ == "__main__":
    main()
