"""Born-again networks against one long training: what do generations buy for the same work?

    python examples/born_again.py

A small convolutional network learns Fashion-MNIST (a part of the training images) several times, each time from fresh
weights and from the outputs of the generation before (arXiv 1805.04770; ``mentorch.methods.born_again``). The fair
comparison is beside it: the same network trained once for as many epochs as all generations together, and an ensemble
of as many networks that never heard of each other. An interrupted call goes on where it stopped if it is given
``--run``. Results are of the last epoch, on the 10,000 test images. The table is Markdown.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

import mentorch as mt
from mentorch import methods, networks
from mentorch.data import Batches, Dataset, Normalize


def fit(graph: mt.Graph, data: Dataset, seed: int, options: argparse.Namespace, epochs: int, **more: object) -> object:
    batches = Batches(data.train, 32, shuffle=True, seed=seed)
    return mt.fit(
        graph,
        batches,
        optimizer=functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=mt.gates.Cosine(1.0, 0.0),
        epochs=epochs,
        device="cpu",
        checkpoint_seconds=60.0,
        tensorboard=False,
        **more,
    )


def accuracy(network: torch.nn.Module, data: Dataset) -> float:
    graph = mt.Graph({"network": mt.freeze(network)}, [], views={"network": Normalize(data.mean, data.std)})
    return mt.evaluate(graph, Batches(data.test, 250), nodes=("network",))["network"]["accuracy"]


def one_seed(data: Dataset, seed: int, options: argparse.Namespace) -> dict[str, float]:
    view = Normalize(data.mean, data.std)
    make = functools.partial(networks.build, "cnn_small", num_classes=10, in_channels=1)
    train: Callable[..., object] = functools.partial(fit, data=data, seed=seed, options=options, epochs=options.epochs)
    alone = functools.partial(methods.supervise, view=view)

    def draw(student: torch.nn.Module, teacher: torch.nn.Module) -> mt.Graph:
        kd = functools.partial(mt.losses.kd, temperature=options.temperature)
        return methods.distill(student, teacher, (kd, 0.5), labels=0.5, views={"student": view, "teacher": view})

    torch.manual_seed(seed)
    run = options.run and Path(options.run) / f"seed-{seed}"
    found, networks_of = {}, []
    loop = methods.born_again(
        make, train, draw, generations=options.generations, first=alone, run=run, resume=bool(run)
    )
    for generation in loop:
        networks_of.append(generation.network)
        found[f"generation {generation.number}"] = accuracy(generation.network, data)
        print(
            f"seed {seed}, generation {generation.number}: {found[f'generation {generation.number}']:.2%}", flush=True
        )
    found["ensemble of the generations"] = accuracy(methods.Ensemble(networks_of), data)
    long = make()
    fit(alone(long), data, seed, options, options.epochs * options.generations)
    found["one network, all the epochs"] = accuracy(long, data)
    others = [make() for _ in range(options.generations)]
    for i, other in enumerate(others):
        fit(alone(other), data, 1000 * seed + i, options, options.epochs)
    found["ensemble of strangers"] = accuracy(methods.Ensemble(others), data)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--train-size", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--data-root", help="where Fashion-MNIST is; then $MENTORCH_DATA")
    parser.add_argument("--run", help="folder for checkpoints: a second call goes on there")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = mt.data.load("fashion_mnist", root=options.data_root, train_size=options.train_size)
    rows = [one_seed(data, seed, options) for seed in options.seeds]
    print(f"\n{len(data.train):,} images, {options.epochs} epochs per network, {len(rows)} seeds\n")
    print("| what | test accuracy, % | per seed |")
    print("|---|---|---|")
    for name in rows[0]:
        each = [100 * row[name] for row in rows]
        print(f"| {name} | {statistics.mean(each):.2f} | {', '.join(f'{value:.2f}' for value in each)} |")


if __name__ == "__main__":
    main()
