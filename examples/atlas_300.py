"""Three hundred small networks, trained in minutes, and the map of them.

python examples/atlas_300.py --zoo zoo300
mentorch atlas zoo300 --probes digits,fashion-mnist,cifar10,cifar100 --name atlas-300
python examples/atlas_300.py --measure runs/atlas-300

Four data sets x three architectures x five tasks x five seeds. A network that is there already is not trained again.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Adam

import mentorch as mt
from mentorch import zoo
from mentorch.data import Batches, Dataset, Normalize, Resize, Split

DATA = {"digits": 8, "fashion-mnist": 12, "cifar10": 12, "cifar100": 12}  # and the side at which images are read
ARCHITECTURES = {
    "cnn_tiny": 400,
    "cnn_small": 200,
    "resnet8": 120,
}  # and batches of 64, about, that they are trained on
SEEDS = range(5)
LOOKS = {"maps alone": 0.0, "both": 0.5, "relations alone": 1.0}  # and the share of the edges
Change = Callable[[Split, int], tuple[Split, int]]


def every(split: Split, classes: int) -> tuple[Split, int]:
    return split, classes


def part(split: Split, classes: int, *, second: bool) -> tuple[Split, int]:
    """The first or the second half of the classes."""
    start, half = (classes // 2 if second else 0), classes // 2
    chosen = split.select(((split.labels >= start) & (split.labels < start + half)).nonzero().flatten())
    return Split(chosen.images, chosen.labels - start, chosen.index), half


def coarse(split: Split, classes: int) -> tuple[Split, int]:
    """Odd classes against even ones."""
    return Split(split.images, split.labels % 2, split.index), 2


def inverted(split: Split, classes: int) -> tuple[Split, int]:
    """All classes, on negatives."""
    return Split(255 - split.images, split.labels, split.index), classes


TASKS: dict[str, Change] = {
    "all classes": every,
    "first half": partial(part, second=False),
    "second half": partial(part, second=True),
    "odd or even": coarse,
    "negatives": inverted,
}


def view(data: Dataset) -> nn.Module:
    side = DATA[data.name]
    return nn.Sequential(Resize(side), Normalize(data.mean, data.std))


def train(network: nn.Module, data: Dataset, split: Split, *, seed: int, epochs: int) -> None:
    graph = mt.methods.supervise(network, view=view(data))
    batches = Batches(split, 64, shuffle=True, seed=seed)
    mt.fit(graph, batches, optimizer=partial(Adam, lr=5e-3), epochs=epochs)


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset, split: Split) -> float:
    eye = view(data)
    right: list[Tensor] = []
    for batch in Batches(split, 250):
        right.append(network.eval()(eye(batch.inputs)).argmax(1) == batch.labels)
    return float(torch.cat(right).float().mean())


def card(name: str, architecture: str, task: str, seed: int, data: Dataset, classes: int, test: float) -> zoo.Card:
    size = (DATA[data.name], DATA[data.name])
    order = "gray" if data.channels == 1 else "rgb"
    return zoo.Card(
        name=name,
        network=architecture,
        arguments={"num_classes": classes, "in_channels": data.channels},
        task=task,
        dataset=data.name,
        input=zoo.Input(data.channels, size, data.mean, data.std, order, resize="stretch"),
        metrics={"test": {"accuracy": test}},
        training={"seed": seed},
    )


def plan() -> Iterator[tuple[str, str, str, int]]:
    for data in DATA:
        for architecture in ARCHITECTURES:
            for task in TASKS:
                for seed in SEEDS:
                    yield data, architecture, task, seed


def main(root: Path, size: int) -> None:
    loaded = {name: mt.data.load(name, train_size=size if name != "digits" else None) for name in DATA}
    for name, architecture, task, seed in plan():
        title = f"{name}-{architecture}-{task.replace(' ', '-')}-{seed}"
        if (root / title / "card.json").exists():
            continue
        data = loaded[name]
        split, classes = TASKS[task](data.train, data.num_classes)
        torch.manual_seed(zlib.crc32(title.encode()))
        network = mt.networks.build(architecture, num_classes=classes, in_channels=data.channels)
        train(
            network, data, split, seed=seed, epochs=max(1, round(64 * ARCHITECTURES[architecture] / len(split.labels)))
        )
        unseen, _ = TASKS[task](data.test, data.num_classes)
        some = torch.arange(0, len(unseen.labels), max(1, len(unseen.labels) // 1000))
        test = accuracy(network, data, unseen.select(some))
        zoo.save(network, root / title, card(title, architecture, task, seed, data, classes, test))
        print(f"{title}: {test:.1%}", flush=True)


def measure(folder: Path, k: int = 5) -> None:
    """How often one of the k nearest shares a fact with a network, beside how often any other network does."""
    networks = json.loads((folder / "atlas.json").read_text())["networks"]
    near = load_file(folder / "map.safetensors")
    facts = {name: [network[name] for network in networks] for name in ("dataset", "network", "task")}
    facts["dataset and task"] = list(zip(facts["dataset"], facts["task"], strict=True))
    facts["all three"] = list(zip(facts["dataset and task"], facts["network"], strict=True))
    print("| the k nearest share | chance | " + " | ".join(LOOKS) + " |")
    for name, values in facts.items():
        same = torch.tensor([[a == b for b in values] for a in values]).float()
        chance = (same.sum() - len(values)) / (len(values) * (len(values) - 1))
        row = [f"{chance:.1%}"]
        for share in LOOKS.values():
            best = ((1 - share) * near["nodes"] + share * near["edges"]).topk(k).indices
            row.append(f"{same.gather(1, near['index'].long().gather(1, best)).mean():.1%}")
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--zoo", type=Path, default=Path("zoo300"))
    options.add_argument("--train-size", type=int, default=4000, help="images of each data set but digits")
    options.add_argument("--measure", type=Path, metavar="RUN", help="train nothing; what the map of this run shows")
    given = options.parse_args()
    if given.measure is not None:
        measure(given.measure)
    else:
        main(given.zoo, given.train_size)
