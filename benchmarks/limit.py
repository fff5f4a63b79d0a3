"""How far a step is from what its convolutions need, and what ways of running a frozen teacher are worth.

    python benchmarks/limit.py
    python benchmarks/limit.py --pairs resnet56 --batch-size 8 --repeats 1 --no-compile   # a short form

First table: each convolution of teacher (forward) and student (forward, and both gradients backward) by itself, on maps
of its size in channels-last format, least CPU time of the repeats, summed over the network: no step whose convolutions
are oneDNN's can be faster. Beside it the step of ``fit``, as ``peers.py`` measures it. Second table: the teacher's pass
alone, each way the median of the repeats, and how far its logits are from those of the first row, relative to their
spread. *Folded* has its batch normalisation in the weights of its convolutions.
"""

import argparse
import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable

import torch
from _machine import keep_memory, machine
from peers import PAIRS, by_fit, prepared
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

import mentorch as mt

Shape = tuple[int, int, int, int, int, int]
"""Channels in and out, kernel, stride, padding, side of the map."""
LAST = torch.channels_last


def convolutions(network: nn.Module, images: Tensor) -> Counter[Shape]:
    """Which ones a network has, and how many of each."""
    found: Counter[Shape] = Counter()

    def note(conv: nn.Conv2d, args: tuple[Tensor, ...], _: Tensor) -> None:
        sizes = conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.padding[0]
        found[(*sizes, args[0].shape[-1])] += 1

    handles = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return found


def alone(shapes: Counter[Shape], batch: int, backward: bool, repeats: int) -> tuple[float, float]:
    """GFLOP of all convolutions, and the milliseconds that they take one by one."""
    work = spent = 0.0
    for (cin, cout, kernel, stride, padding, side), count in shapes.items():
        conv = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False).to(memory_format=LAST)
        x = torch.randn(batch, cin, side, side).contiguous(memory_format=LAST)
        with torch.no_grad():
            y = conv(x)
            times = [cost(lambda conv=conv, x=x: conv(x), repeats)]
        if backward:
            wanted = (conv.weight,) if cin == 3 else (x.requires_grad_(), conv.weight)
            y, gradient = conv(x), torch.randn_like(y)
            times.append(
                cost(lambda y=y, w=wanted, g=gradient: torch.autograd.grad(y, w, g, retain_graph=True), repeats)
            )
        passes = 1 + (len(wanted) if backward else 0)
        work += count * passes * 2e-9 * y.numel() * cin * kernel**2
        spent += count * sum(times)
    return work, spent


def cost(run: Callable[[], object], repeats: int) -> float:
    """Least milliseconds of CPU."""
    return min(series(run, repeats))


def series(run: Callable[[], object], repeats: int) -> list[float]:
    run()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        times.append(1e3 * (time.process_time() - began))
    return times


def limits(pair: str, batch: int, repeats: int, compiled: bool) -> None:
    """Print the first table's row of a pair."""
    job = prepared(pair, batch, 2)("")
    images = next(job.batches.iterate(0)).inputs
    parts = [alone(convolutions(job.teacher, images), batch, False, repeats)]
    parts.append(alone(convolutions(job.student, images), batch, True, repeats))
    (work, need), (own_work, own_need) = (sum(column) for column in zip(*parts, strict=True)), parts[1]
    ways = {"channels_last": True}, {"compile": True}
    steps = []
    for way in ways if compiled else ways[:1]:
        make = prepared(pair, batch, 2)
        steps.append(min(1e3 * by_fit(make(""), **way) for _ in range(repeats + 1)))
    cells = (
        " -> ".join(PAIRS[pair]),
        f"{work:.1f}, {own_work:.1f}",
        f"{need:.0f}, {own_need:.0f}",
        f"{1e3 * work / need:.0f}, {1e3 * own_work / own_need:.0f}",
        " / ".join(f"{step:.0f}" for step in steps),
        " / ".join(f"{need / step:.0%}" for step in steps),
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def teachers(pair: str, batch: int, repeats: int, compiled: bool) -> None:
    """Print the second table's rows of a pair."""
    job = prepared(pair, batch, 1)("")
    images, network = next(job.batches.iterate(0)).inputs, mt.freeze(job.teacher)
    last = copy.deepcopy(network).to(memory_format=LAST)
    folded = fuse(last)
    lowered = mt.freeze(copy.deepcopy(last), precision=torch.bfloat16)
    ways: dict[str, tuple[nn.Module, Callable[[], object]]] = {
        "as it is": (network, torch.no_grad),
        "channels-last": (last, torch.no_grad),
        "channels-last, inference mode": (last, torch.inference_mode),
        "channels-last, folded": (folded, torch.no_grad),
        "channels-last, bf16": (lowered, torch.no_grad),
    }
    if compiled:
        ways["compiled"] = (torch.compile(copy.deepcopy(network)), torch.no_grad)
        ways["compiled, bf16"] = (
            torch.compile(mt.freeze(copy.deepcopy(network), precision=torch.bfloat16)),
            torch.no_grad,
        )
    with torch.no_grad():
        logits = network(images)
    for name, (way, context) in ways.items():
        with context():
            spent = statistics.median(series(lambda way=way: way(images), repeats))
            off = float((way(images).float() - logits).abs().mean() / logits.std())
        print(f"| {PAIRS[pair][0]} | {name} | {spent:.0f} | {off:.0e} |", flush=True)


HEAD = (
    "networks",
    "convolutions of all, of the student: GFLOP",
    "alone, ms",
    "GFLOP/s",
    "`fit`, channels-last / compiled, ms",
    "limit / step",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    asked = options.batch_size, options.repeats, not options.no_compile
    print(f"{machine()}\n")
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|", flush=True)
    for pair in options.pairs:
        limits(pair, *asked)
    print("\n| teacher | way | CPU ms | logits differ by |\n|---|---|---|---|", flush=True)
    for pair in options.pairs:
        teachers(pair, *asked)


if __name__ == "__main__":
    main()
