"""Identical networks one after the other, or as one batched call: which is faster?

    python benchmarks/batched.py

``torch.func`` stacks the weights of several networks of one architecture and runs them in one call. Forward and
backward pass of the same images through all networks, in training mode; CPU milliseconds, the lowest of the repeats.
"""

import argparse
import copy
import functools
import time
from collections.abc import Callable

import torch
from torch.func import functional_call, stack_module_state, vmap

from mentorch import networks

NETWORKS = {"cnn_tiny": (1, 8), "cnn_small": (1, 28), "resnet8": (3, 32)}


def milliseconds(step: Callable[[], None], repeats: int) -> float:
    step()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        step()
        found.append(1e3 * (time.process_time() - began))
    return min(found)


def in_turn(made: list[torch.nn.Module], images: torch.Tensor) -> None:
    sum(network(images).square().mean() for network in made).backward()


def at_once(bones: torch.nn.Module, state: tuple[dict, dict], images: torch.Tensor) -> None:
    def one(*state: dict) -> torch.Tensor:
        return functional_call(bones, state, (images,))

    vmap(one)(*state).square().mean((1, 2)).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| networks | one after the other, ms | one call, ms | times faster |")
    print("|---|---|---|---|")
    for name, (channels, size) in NETWORKS.items():
        for count in (3, 6):
            torch.manual_seed(0)
            made = [networks.build(name, num_classes=10, in_channels=channels) for _ in range(count)]
            images = torch.rand(options.batch_size, channels, size, size)
            bones, state = copy.deepcopy(made[0]).to("meta"), stack_module_state(made)
            turns = milliseconds(functools.partial(in_turn, made, images), options.repeats)
            once = milliseconds(functools.partial(at_once, bones, state, images), options.repeats)
            print(f"| {count} x {name} | {turns:.2f} | {once:.2f} | {turns / once:.2f} |", flush=True)


if __name__ == "__main__":
    main()
