"""How many views of each sample does a teacher cache need? K of them, against a new one in every epoch.

    MENTORCH_DATA=... MENTORCH_WEIGHTS=... python examples/views_ablation.py

A resnet20 trained on CIFAR-10 by others (``cifar10-resnet20-akamaster.safetensors`` in ``$MENTORCH_WEIGHTS``) teaches a
resnet8 on a part of the training images, pad-crop-flip augmented. Runs of one seed start from the same weights and see
the same order; they differ in how many versions of each image there are. Epoch e shows version e modulo K; ``all``
shows a new one in every epoch, as live training does. All runs share one cache. The table is Markdown.

The teacher has seen all 50,000 training images, so its advice on the part is better than it would be on new data.
Results are of the last epoch, on the 10,000 test images; nothing was chosen by them.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from scipy.stats import t as student_t

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, Dataset, Normalize, standard
from mentorch.training import TeacherCache

IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what the teacher was trained with


def load_teacher(folder: Path) -> torch.nn.Module:
    teacher = networks.build("resnet20", num_classes=10)
    return mt.freeze(networks.load_weights(teacher, folder / "cifar10-resnet20-akamaster.safetensors"))


def accuracy(graph: mt.Graph, data: Dataset, node: str) -> float:
    return mt.evaluate(graph, Batches(data.test, 250), nodes=(node,))[node]["accuracy"]


def train(
    teacher: torch.nn.Module, data: Dataset, views: int | None, seed: int, options: argparse.Namespace
) -> mt.Graph:
    torch.manual_seed(seed)
    graph = mt.methods.distill(
        networks.build("resnet8", num_classes=10),
        teacher,
        functools.partial(mt.losses.kd, temperature=4.0),
        views={"teacher": IMAGENET, "student": Normalize(data.mean, data.std)},
    )
    augment = standard(data)
    mt.fit(
        graph,
        Batches(data.train, options.batch_size, shuffle=True, augment=augment, seed=seed, views=views, view_seed=0),
        optimizer=functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=mt.gates.Cosine(1.0, 0.0),
        epochs=options.epochs,
        device="cpu",
        cache=TeacherCache(options.cache),
    )
    return graph


def row(name: str, views: int, values: list[float], baseline: list[float], samples: int) -> str:
    mean = f"{100 * statistics.mean(values):.2f}"
    if len(values) > 1:
        deviation = 100 * statistics.stdev(values)
        mean += f" ± {float(student_t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5:.2f}"
    apart = 100 * statistics.mean(a - b for a, b in zip(values, baseline, strict=True))
    each = ", ".join(f"{100 * value:.2f}" for value in values)
    return f"| {name} | {mean} | {apart:+.2f} | {each} | {views * samples:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", nargs="+", default=["1", "8", "32", "all"], help="numbers, or all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--train-size", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--data-root", help="where cifar10 is; then $MENTORCH_DATA")
    parser.add_argument("--weights", default=os.environ.get("MENTORCH_WEIGHTS", "."), help="folder of the weights")
    parser.add_argument("--cache", help="folder to keep; a temporary one if nothing is said")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        options.cache = options.cache or folder
        data = mt.data.load("cifar10", root=options.data_root, train_size=options.train_size)
        teacher = load_teacher(Path(options.weights))
        began = time.perf_counter()
        found: dict[str, list[float]] = {}
        for name in sorted(options.views, key=lambda name: (name != "all", name)):  # all first: the rest then reads
            for seed in options.seeds:
                graph = train(teacher, data, None if name == "all" else int(name), seed, options)
                found.setdefault(name, []).append(accuracy(graph, data, "student"))
                print(f"K = {name}, seed {seed}: {found[name][-1]:.2%}", flush=True)
        print(
            f"\nresnet20 ({accuracy(graph, data, 'teacher'):.2%}) -> resnet8, {len(data.train):,} images of CIFAR-10, "
            f"{options.epochs} epochs, {len(options.seeds)} seeds; {time.perf_counter() - began:.0f} s\n"
        )
        print("| K | test accuracy, % (95 % interval) | minus the most views | per seed | teacher forwards |")
        print("|---|---|---|---|---|")
        most = max(found, key=lambda name: options.epochs if name == "all" else int(name))
        for name in options.views:
            views = options.epochs if name == "all" else min(options.epochs, int(name))
            print(row(name, views, found[name], found[most], len(data.train)))


if __name__ == "__main__":
    main()
