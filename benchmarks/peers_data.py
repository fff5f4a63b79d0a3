"""The augmented batches of ``mentorch.data`` beside those of torchvision and a data loader.

    .venv-peers/bin/python benchmarks/peers_data.py               # torchvision comes with torchdistill
    python benchmarks/peers_data.py --images 200 --repeats 1      # a short form; who is absent is left out

Images of CIFAR's size, one epoch of shuffled batches: cropped at random after padding by 4, mirrored at random, as
floats, normalised. The first loop is what mdistiller, RepDistiller and torchdistill train with: ``CIFAR10`` of
torchvision, its transforms of PIL images, one after the other, and a ``DataLoader``, here in the process itself, so
that all work is counted. CPU milliseconds per batch in one thread, in turns.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Iterator

import torch
from _machine import keep_memory, machine
from _peers import AbsentError, import_torchvision, take_turns
from _steps import spread
from torch import Tensor

from mentorch.data import Batches, Compose, Flip, Normalize, PadCrop, Split

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def by_torchvision(images: Tensor, labels: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Batches of floats ``[N, 3, 32, 32]``."""
    try:
        import_torchvision()
        from torchvision import datasets, transforms
    except ModuleNotFoundError as error:
        raise AbsentError("torchvision is not installed: make .venv-peers/installed") from error
    data = object.__new__(datasets.CIFAR10)  # its files are not needed for what it does with each image
    data.data, data.targets, data.target_transform = images.permute(0, 2, 3, 1).numpy(), labels.tolist(), None
    steps = (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor())
    data.transform = transforms.Compose([*steps, transforms.Normalize(MEAN, DEVIATION)])
    for batch, _ in torch.utils.data.DataLoader(data, batch_size, shuffle=True):
        yield batch


def by_us(images: Tensor, labels: Tensor, batch_size: int) -> Iterator[Tensor]:
    """The same."""
    split = Split(images, labels, torch.arange(len(images)))
    view = Normalize(MEAN, DEVIATION)
    for batch in Batches(split, batch_size, shuffle=True, augment=Compose((PadCrop(4), Flip()))).iterate(0):
        yield view(batch.inputs)


LOOPS = {"torchvision, `DataLoader`": by_torchvision, "`mentorch.data`": by_us}


def epoch(loop: str, images: Tensor, labels: Tensor, batch_size: int) -> tuple[float, Tensor]:
    """CPU seconds; what is drawn at random is not compared."""
    began = time.process_time()
    count = sum(len(batch) for batch in LOOPS[loop](images, labels, batch_size))
    spent = time.process_time() - began
    assert count == len(images)
    return spent, torch.empty(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (asked.images, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (asked.images,))
    print(f"{machine()}\n")
    print("| batch | loop | CPU ms per batch | images per CPU second | times faster (min ... max) |")
    print("|---|---|---|---|---|", flush=True)
    for size in asked.batch_sizes:
        loops = {name: functools.partial(epoch, name, images, labels, size) for name in LOOPS}
        times = take_turns(loops, asked.repeats, "`mentorch.data`")
        first = next(iter(times.values()))
        for name, series in times.items():
            middle = statistics.median(series)
            cells = (size, name, f"{middle / asked.images * size * 1e3:.2f}", f"{asked.images / middle:,.0f}")
            print(f"| {' | '.join(map(str, cells))} | {spread(first, series, 1) if series is not first else ''} |")


if __name__ == "__main__":
    main()
