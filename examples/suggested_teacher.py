"""Is the teacher that a ranking suggests a good one? Beside a random teacher, and the best found by trying all.

    python examples/trained_zoo.py --out runs/trained-zoo      # makes the zoo
    python examples/suggested_teacher.py --zoo runs/trained-zoo/zoo

A small network learns a target of ``trained_zoo.py`` from 160 labelled images: alone, and once from each network of
the zoo, by the graph that ``mentorch.methods.suggest`` draws (the sources know other classes: their embeddings teach
how samples relate). Every student has the same number of steps, and the mean over seeds of its test accuracy counts.
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import nn
from trained_zoo import FACTORS, INPUT, SIZE, classes_of, draw, fresh

from mentorch import Graph, methods
from mentorch import transferability as tr
from mentorch.data import Dataset, Normalize, Split

VIEW = Normalize(INPUT.mean, INPUT.std)


def target(factor: str) -> Dataset:
    parts = {}
    for seed, (name, count) in enumerate((("train", 160), ("validation", 100), ("test", 1000)), start=20):
        images, values = draw(count, seed, inverted=True)
        parts[name] = Split(images, classes_of(values, (factor,)), torch.arange(count))
    return Dataset.of(f"{factor}, inverted", classes=[f"{factor} {i}" for i in range(4)], **parts)


def learn(graph: Graph, data: Dataset, steps: int, seed: int) -> float:
    """Test accuracy of the student after so many steps of Adam."""
    g = torch.Generator().manual_seed(seed)
    images, labels = data.train.images.float() / 255, data.train.labels
    optimizer = torch.optim.Adam(graph.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=g)[:64]
        optimizer.zero_grad()
        sum(graph(images[rows], labels=labels[rows]).values()).backward()
        optimizer.step()
    student = graph.nodes["student"].eval()
    with torch.no_grad():
        return float((student(VIEW(data.test.images.float() / 255)).argmax(1) == data.test.labels).double().mean())


def student(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return fresh(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("runs/trained-zoo/zoo"))
    parser.add_argument("--targets", nargs="+", default=list(FACTORS))
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"images {SIZE} x {SIZE}, {options.steps} steps, mean of {options.seeds} seeds\n")
    print("| target | alone | random teacher | suggested by logme | best of all, by trying | weighted tau |")
    print("|---|---|---|---|---|---|", flush=True)
    for factor in options.targets:
        data, seeds = target(factor), range(options.seeds)
        ranking = tr.rank(options.zoo, data.train.images, data.train.labels, scores=(tr.logme,))
        alone = [learn(methods.supervise(student(s), view=VIEW), data, options.steps, s) for s in seeds]
        found = {}
        for row in ranking.ranked:
            one = dataclasses.replace(ranking, rows=(row,))
            graphs = [methods.suggest(one, data, student(s), view=VIEW).graph for s in seeds]
            found[row.name] = sum(learn(graph, data, options.steps, s) for s, graph in zip(seeds, graphs, strict=True))
        means = {name: value / len(seeds) for name, value in found.items()}
        chosen, best = ranking.ranked[0].name, max(means, key=lambda name: means[name])
        everyone = torch.tensor(list(means.values()), dtype=torch.float64)
        tau = tr.weighted_tau([row.scores["logme"] for row in ranking.ranked], everyone)
        print(
            f"| {factor} | {sum(alone) / len(alone):.3f} | {everyone.mean():.3f} (sd {everyone.std():.3f}) | "
            f"{means[chosen]:.3f} ({chosen}) | {means[best]:.3f} ({best}) | {tau:.2f} |",
            flush=True,
        )
    print(f"\n{len(means)} networks; 5 % of random rankings exceed {tr.null_band(len(means)).high:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
