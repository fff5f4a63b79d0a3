"""How much of a published ranking of source tasks is evidence? Taskonomy's transfers, without a model or an image.

    MENTORCH_SHARED_DATA=... python examples/taskonomy.py --figure taskonomy.svg

The data (``taskonomy`` in ``$MENTORCH_SHARED_DATA``) are the transfer affinities that Taskonomy measured with 16,000
and with 1,000 images, and the ground truth by which DEPARA was evaluated: for 18 target tasks, the other 19 tasks from
the best source to the worst. First that ground truth is rebuilt from the affinities, row by row. Then rankings are
scored by it as published: P@k, the share of a target's five best sources among the k first, over all targets. Beside
the published counts stand what no network was needed for:

* ``random``: 5 of 19;
* ``popular sources``: the mean rank on all other targets, the same for any method that never looks at the target;
* ``label prior``: sources of the target's kind (2D, 3D, geometric, semantic), then the rest in any order;
* ``1,000 images``: the same measurement repeated with less data, which is as well as a method can agree with it;
* ``symmetric oracle``: the ground truth's ranks averaged over both directions, the most a symmetric similarity knows.

Where a ranking is tied, the mean over all ways to break the tie counts. Published counts are read off the figure
``fig/pr.png`` of zju-vipa/DEPARA (Song et al., CVPR 2020, arXiv 2003.07496), 18 k at most.
"""

import argparse
import csv
import os
from pathlib import Path

import torch
from scipy.stats import rankdata
from torch import Tensor

from mentorch.transferability import precision_at, recall_at, static_baseline

TASKS = (
    *("autoencoder", "curvature", "denoise", "edge2d", "edge3d", "keypoint2d", "keypoint3d", "colorization", "reshade"),
    *("rgb2depth", "rgb2mist", "rgb2sfnorm", "room_layout", "segment25d", "segment2d", "vanishing_point_well_defined"),
    *("segmentsemantic_rb", "class_1000", "class_places", "impainting_whole"),
)
TARGETS = [task for task in range(20) if TASKS[task] not in ("colorization", "impainting_whole")]
KINDS = {
    "2D": ("autoencoder", "denoise", "edge2d", "keypoint2d", "segment2d", "colorization", "impainting_whole"),
    "3D": ("curvature", "edge3d", "keypoint3d", "reshade", "rgb2depth", "rgb2mist", "rgb2sfnorm", "segment25d"),
    "geometric": ("room_layout", "vanishing_point_well_defined"),
    "semantic": ("segmentsemantic_rb", "class_1000", "class_places"),
}
PUBLISHED = {"DEPARA": (16, 33, 48, 61, 68), "RSA": (15, 32, 46, 59, 66), "attribution maps": (13, 30, 39, 53, 60)}
BEST = 5


def affinities(path: Path) -> Tensor:
    """Transfer affinities, shape [18 targets, 20 sources]; higher is better."""
    with path.open(encoding="utf-8") as file:
        found = {(row["target"], row["source"]): float(row["affinity"]) for row in csv.DictReader(file)}
    return torch.tensor([[found[TASKS[t], s] for s in TASKS] for t in TARGETS], dtype=torch.float64)


def order(row: Tensor, target: int) -> list[int]:
    """The target itself, then the sources from best to worst."""
    scores = row.clone()
    scores[target] = torch.inf
    return scores.argsort(descending=True).tolist()


def others(row: Tensor, target: int) -> Tensor:
    return torch.cat([row[:target], row[target + 1 :]])


def ranks(table: Tensor) -> Tensor:
    return torch.from_numpy(rankdata(table.numpy(), axis=1))


def label_prior() -> Tensor:
    kind = [next(kind for kind, tasks in KINDS.items() if task in tasks) for task in TASKS]
    return torch.tensor([[float(kind[s] == kind[t]) for s in range(20)] for t in TARGETS])


def symmetric_oracle(truth: Tensor) -> Tensor:
    """Mean rank of the two directions; where only one was measured, that one."""
    both = torch.full((20, 20), torch.nan, dtype=torch.float64)
    both[TARGETS] = ranks(truth)
    return torch.stack([both, both.T]).nanmean(0)[TARGETS]


def curve(scores: Tensor, truth: Tensor) -> list[float]:
    """P@k for k = 1 to 19: the mean over targets."""
    values = []
    for k in range(1, 20):
        found = []
        for row, true, target in zip(scores, truth, TARGETS, strict=True):
            relevant = torch.zeros(20, dtype=torch.bool)
            relevant[order(true, target)[1 : BEST + 1]] = True
            arguments = others(row, target), others(relevant, target), k
            found.append(precision_at(*arguments))
            assert abs(recall_at(*arguments) * BEST - found[-1] * k) < 1e-9  # both count the same hits
        values.append(sum(found) / len(found))
    return values


def draw(curves: dict[str, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "taskonomy", "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        for name, values in curves.items():
            axes.plot(range(1, 20), values, label=name, linewidth=1.5)
        for (name, hits), marker in zip(PUBLISHED.items(), "os^", strict=True):
            points = [hit / (18 * k) for k, hit in enumerate(hits, 1)]
            axes.plot(range(1, 6), points, marker, linestyle="none", label=f"{name}, published")
        axes.set(xlabel="k", ylabel="P@k: share of the five best sources among the first k", ylim=(0, 1.03))
        axes.set_xticks(range(1, 20, 2))
        axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("MENTORCH_SHARED_DATA", "."))
    parser.add_argument("--data", type=Path, default=shared / "taskonomy", help="folder of the three csv files")
    parser.add_argument("--figure", type=Path, help="where to write the curves (.svg, .png)")
    asked = parser.parse_args()
    truth, repeated = (affinities(asked.data / f"affinities_{images}.csv") for images in ("16k", "1k"))
    lines = (asked.data / "depara_ground_truth.csv").read_text(encoding="utf-8").split()
    same = sum(
        order(row, t) == [int(n) for n in line.split(",")] for row, t, line in zip(truth, TARGETS, lines, strict=True)
    )
    print(f"ground truth rebuilt from the affinities: {same} of {len(TARGETS)} rows equal\n")
    curves = {
        "oracle": curve(truth, truth),
        "1,000 images": curve(repeated, truth),
        "symmetric oracle": curve(symmetric_oracle(truth), truth),
        "label prior": curve(label_prior(), truth),
        "popular sources": curve(static_baseline(truth.T).T, truth),
        "random": curve(torch.zeros(18, 20), truth),
    }
    print("| ranking | " + " | ".join(f"P@{k}" for k in range(1, 6)) + " | hits in 90 |\n|---|" + "---|" * 6)
    rows = {f"{name}, published": [hit / (18 * k) for k, hit in enumerate(hits, 1)] for name, hits in PUBLISHED.items()}
    for name, values in sorted((rows | curves).items(), key=lambda item: -item[1][4]):
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values[:5]) + f" | {90 * values[4]:.1f} |")
    if asked.figure:
        draw(curves, asked.figure)


if __name__ == "__main__":
    main()
