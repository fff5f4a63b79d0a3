"""How well do scores rank networks whose worth was measured? A zoo trained here, in a world of four factors.

    python examples/trained_zoo.py --out runs/trained-zoo

Images (16 x 16, gray) show one object with four independent factors of four values each: its shape, the angle and the
frequency of its stripes, and where light falls on it from. Twenty-four small networks learn them: each factor cleanly,
with half of the labels wrong and from a twentieth of the images; all pairs and triples of factors; random labels; and
nothing at all. Targets are the same factors in inverted contrast, with a few labels. What a network is worth there is
measured: the mean test accuracy of three full fine-tunings, and of a linear probe. A target counts if that truth is
one: its spread is seven times the deviation of repeated fine-tunings or more, and its top is not saturated.

Every score is then computed from the same few labelled images, without training; label-free ones compare with a
reference, trained on many images of the target (``full``) or on the same few, from 100 unlabelled images. The table
tells the weighted tau of each with the truth; what random rankings reach, the static ranking (mean rank on the other
targets), the number of classes that a network was trained on, and how it was made stand beside it.
"""

import argparse
import functools
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import networks, zoo
from mentorch import transferability as tr

FACTORS = ("shape", "angle", "frequency", "light")
WIDTHS = (12, 24, 48)
SIZE = 16
INPUT = zoo.Input(1, (SIZE, SIZE), (0.4,), (0.3,), order="gray")
LABELLED = (
    *(tr.logme, tr.ridge, tr.linear_probe, tr.gbc, tr.parc, tr.knn, tr.nleep, tr.leep, tr.nce),
    *(tr.regularized_h_score, tr.h_score, tr.sfda, tr.transrate),
)
LABEL_FREE = (tr.cka, tr.rsa, functools.partial(tr.depara, weight=1.0), functools.partial(tr.depara, weight=0.0))


def draw(count: int, seed: int, *, inverted: bool = False) -> tuple[Tensor, Tensor]:
    """Images, uint8 [N, 1, 16, 16], and the value of each factor, [N, 4]."""
    g = torch.Generator().manual_seed(seed)
    values = torch.randint(4, (count, 4), generator=g)
    shape, angle, frequency, light = (column[:, None, None] for column in values.unbind(1))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=g)

    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    x, y = axis[None, None, :] - uniform(-2, 2), axis[None, :, None] - uniform(-2, 2)
    radius = uniform(4.5, 6)
    far = (x.square() + y.square()).sqrt()
    square = torch.maximum(x.abs(), y.abs()) < 0.85 * radius
    triangle = (y < 0.7 * radius) & (y > 2 * x.abs() - radius)
    cross = (torch.minimum(x.abs(), y.abs()) < 0.35 * radius) & (torch.maximum(x.abs(), y.abs()) < radius)
    mask = torch.where(
        shape == 0, far < radius, torch.where(shape == 1, square, torch.where(shape == 2, triangle, cross))
    )
    turn = (angle + uniform(-0.3, 0.3)) * math.pi / 4
    waves = torch.tensor([0.1, 0.17, 0.25, 0.36])[frequency] * uniform(0.9, 1.1)
    stripes = torch.cos(2 * math.pi * (waves * (x * turn.cos() + y * turn.sin()) + uniform(0, 1)))
    lit = light * math.pi / 2
    shade = (x * lit.cos() + y * lit.sin()) / radius
    inside = 0.55 + uniform(0.1, 0.25) * stripes + 0.2 * shade
    image = torch.where(mask, inside, 0.15) + 0.12 * torch.randn(count, SIZE, SIZE, generator=g)
    image = (1 - image) if inverted else image
    return (image.clamp(0, 1) * 255).round().byte()[:, None], values


def classes_of(values: Tensor, factors: Sequence[str]) -> Tensor:
    """One class for each combination of the factors."""
    return sum(values[:, FACTORS.index(name)] * 4**place for place, name in enumerate(factors))  # type: ignore[return-value]


def fresh(classes: int) -> nn.Module:
    return networks.build("cnn_medium", num_classes=classes, in_channels=1, options={"widths": WIDTHS})


def feed(images: Tensor) -> Tensor:
    return (images.float() / 255 - INPUT.mean[0]) / INPUT.std[0]


def train(network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, seed: int, lr: float) -> nn.Module:
    """Adam with a cosine schedule, batches of 64 at random."""
    g = torch.Generator().manual_seed(seed)
    head, rest = network.fc.parameters(), [p for n, p in network.named_parameters() if not n.startswith("fc.")]
    optimizer = torch.optim.Adam([{"params": head, "lr": 3 * lr}, {"params": rest, "lr": lr}], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    x, size = feed(images), min(64, len(images))
    for _ in range(steps):
        rows = torch.randperm(len(x), generator=g)[:size]
        optimizer.zero_grad()
        F.cross_entropy(network(x[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((network(feed(images)).argmax(1) == labels).double().mean())


def sources() -> dict[str, tuple[tuple[str, ...], str]]:
    """Name -> factors, and how they are learned."""
    found = {f"{name} {how}": ((name,), how) for name in FACTORS for how in ("clean", "noisy", "little")}
    found |= {"+".join(names): (names, "clean") for size in (2, 3) for names in combinations(FACTORS, size)}
    return found | {"random labels": (("shape",), "random"), "untrained": (("shape",), "untrained")}


def make_zoo(folder: Path, options: argparse.Namespace) -> None:
    """Train all sources and keep them with their cards; those that are there already are left alone."""
    images, values = draw(options.images, seed=1)
    test, test_values = draw(1000, seed=2)
    for number, (name, (factors, how)) in enumerate(sources().items()):
        if (folder / name / "card.json").exists():
            continue
        torch.manual_seed(1000 + number)
        g = torch.Generator().manual_seed(number)
        classes, labels = 4 ** len(factors), classes_of(values, factors)
        wrong = torch.rand(len(labels), generator=g) < {"noisy": 0.5, "random": 1.0}.get(how, 0.0)
        labels = torch.where(wrong, torch.randint(classes, labels.shape, generator=g), labels)
        kept = max(64, len(images) // 20) if how == "little" else len(images)
        network = fresh(classes)
        if how != "untrained":
            train(network, images[:kept], labels[:kept], steps=options.steps, seed=number, lr=2e-3)
        network.eval()
        found = {"accuracy": accuracy(network, test, classes_of(test_values, factors))}
        arguments = {"num_classes": classes, "in_channels": 1, "widths": list(WIDTHS)}
        facts = {"dataset": f"factors: {'+'.join(factors)}", "metrics": {"test": found}, "tags": {"how": how}}
        zoo.save(network, folder / name, zoo.Card(name, "cnn_medium", arguments, input=INPUT, **facts))
        print(f"{name}: {found['accuracy']:.3f} on its own data", flush=True)


TARGETS = {
    **{name: ((name,), 40) for name in FACTORS},
    "angle+frequency": (("angle", "frequency"), 48),
    "shape+light": (("shape", "light"), 48),
}


def few(values: Tensor, factors: Sequence[str], count: int) -> Tensor:
    """Rows of a few images, as many of each class."""
    labels = classes_of(values, factors)
    each = count // 4 ** len(factors)
    return torch.cat([(labels == c).nonzero()[:each, 0] for c in range(4 ** len(factors))])


def measure(folder: Path, names: Sequence[str], target: str, options: argparse.Namespace) -> dict[str, list[object]]:
    """Accuracy of each network on the target after fine-tuning, once per seed, and of a linear probe."""
    factors, count = TARGETS[target]
    images, values = draw(4000, seed=3, inverted=True)
    test, test_values = draw(1000, seed=4, inverted=True)
    labels, test_labels = classes_of(values, factors), classes_of(test_values, factors)
    rows, classes = few(values, factors, count), 4 ** len(factors)
    found: dict[str, list[object]] = {"tuned": [], "probe": []}
    for name in names:
        tuned = []
        for seed in range(options.seeds):
            network, _ = zoo.load(folder / name)
            torch.manual_seed(seed)
            network.fc = nn.Linear(WIDTHS[-1], classes)
            train(network, images[rows], labels[rows], steps=options.tuning, seed=seed, lr=1e-3)
            tuned.append(accuracy(network, test, test_labels))
        found["tuned"].append(tuned)
        found["probe"].append(_probe(zoo.load(folder / name)[0], images[rows], labels[rows], test, test_labels))
    return found


def _probe(network: nn.Module, images: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Test accuracy of a logistic regression on the features, fitted to the few images."""
    from sklearn.linear_model import LogisticRegression

    network.fc = nn.Identity()
    with torch.no_grad():
        x, unseen = network(feed(images)), network(feed(test))
    mean, std = x.mean(0), x.std(0) + 1e-3
    model = LogisticRegression(C=0.1, max_iter=2000).fit(((x - mean) / std).numpy(), labels.numpy())
    return float(model.score(((unseen - mean) / std).numpy(), test_labels.numpy()))


def scores(folder: Path, target: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every score of every network on the target: score -> network -> value."""
    factors, count = TARGETS[target]
    images, values = draw(4000, seed=3, inverted=True)
    labels, classes = classes_of(values, factors), 4 ** len(factors)
    rows = few(values, factors, count)
    ranking = tr.rank(folder, images[rows], labels[rows], scores=LABELLED)
    found = {
        score: {row.name: row.column(score) for row in ranking.rows} for score in (*ranking.scores, "own accuracy")
    }
    found["classes of its own"] = {row.name: float(len(factors_of(row.name))) for row in ranking.rows}
    for kind, shown in (("full", slice(None)), ("few labels", rows)):
        torch.manual_seed(0)
        reference = train(fresh(classes), images[shown], labels[shown], steps=options.steps, seed=0, lr=2e-3)
        card = zoo.Card("reference", "cnn_medium", {"num_classes": classes, "in_channels": 1}, input=INPUT)
        # their labels are not read
        compared = tr.rank(
            folder, images[-100:], labels[-100:], scores=LABEL_FREE, reference=(reference, card), probes=100
        )
        found |= {f"{s}, {kind}": {row.name: row.column(s) for row in compared.rows} for s in compared.scores}
    return found


def factors_of(name: str) -> tuple[str, ...]:
    return sources()[name][0]


def judge(truth: Tensor, repeats: Tensor) -> str:
    """Why a target's truth is none; empty if it is one."""
    spread, deviation = float(truth.max() - truth.min()), float(repeats.std(1).mean())
    if spread < 7 * deviation:
        return f"spread {spread:.3f} is less than 7 times the deviation of repeats, {deviation:.3f}"
    return "saturated" if truth.max() >= 0.995 else ""


def table(found: dict[str, dict[str, object]]) -> list[dict[str, object]]:
    """Weighted tau of every score with both truths: mean over targets, least, largest, and regret of the first."""
    names = list(sources())
    tuned = {t: torch.tensor(f["tuned"]).mean(1) for t, f in found.items()}
    probe = {t: torch.tensor(f["probe"]) for t, f in found.items()}
    used = [t for t, f in found.items() if not judge(tuned[t], torch.tensor(f["tuned"]))]
    columns: dict[str, dict[str, Tensor]] = {
        score: {t: torch.tensor([found[t]["scores"][score][n] for n in names]) for t in used}
        for score in found[used[0]]["scores"]
    }
    if len(used) > 1:
        static = tr.static_baseline(torch.stack([tuned[t] for t in used], 1))
        columns["static: mean rank on the other targets"] = dict(zip(used, static.unbind(1), strict=True))
    rows = []
    for score, values in columns.items():
        taus = {t: _judged(tr.weighted_tau, values[t], tuned[t]) for t in used}
        probed = [_judged(tr.weighted_tau, values[t], probe[t]) for t in used]
        lost = [_judged(tr.regret, values[t], tuned[t]) for t in used]
        row = {"score": score, "tau": _mean(taus.values()), "tau, probe": _mean(probed), "regret": _mean(lost)}
        rows.append(row | {"by target": taus})
    return sorted(rows, key=lambda row: -row["tau"])  # type: ignore[operator]


def _judged(judge: Callable[[Tensor, Tensor], float], values: Tensor, truth: Tensor) -> float:
    """NaN where a score ranks nothing: no network has it, or all have the same."""
    there = values[~values.isnan()]
    if len(there) < 2 or bool((there == there[0]).all()):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tr.Uninformative)
        return judge(values, truth)


def _mean(values: Iterable[float]) -> float:
    """Over the targets on which there is a ranking."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else -math.inf


def show(found: dict[str, dict[str, object]]) -> None:
    names = list(sources())
    for target, facts in found.items():
        repeats = torch.tensor(facts["tuned"])
        truth = repeats.mean(1)
        best, why = names[int(truth.argmax())], judge(truth, repeats)
        print(
            f"{target}: fine-tuned {truth.min():.3f} to {truth.max():.3f} ({best}), "
            f"deviation of repeats {repeats.std(1).mean():.3f}{f'; left out: {why}' if why else ''}"
        )
    rows = table(found)
    band = tr.null_band(len(names))
    print(f"\n{len(names)} networks; 5 % of random rankings exceed {band.high:.2f} on one target\n")
    targets = list(rows[0]["by target"])
    print(f"| score | mean tau | {' | '.join(targets)} | mean tau, linear probe | regret of the first |")
    print("|---|" + "---|" * (len(targets) + 3))
    for row in rows:
        each = " | ".join(f"{row['by target'][t]:.2f}" for t in targets)
        print(f"| {row['score']} | {row['tau']:.2f} | {each} | {row['tau, probe']:.2f} | {row['regret']:.3f} |")


def run(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    folder = options.out / "zoo"
    make_zoo(folder, options)
    path = options.out / "measured.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for target in options.targets:
        if target in found:
            continue
        began = time.perf_counter()
        measured = measure(folder, list(sources()), target, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tr.Uninformative)
            found[target] = {**measured, "scores": scores(folder, target, options)}
        path.write_text(json.dumps(found, indent=1))
        print(f"{target}: measured and scored in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/trained-zoo"))
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    for name, value in {"images": 4000, "steps": 250, "tuning": 40, "seeds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(run(options()))
