"""CPU time of ``logme`` beside the published iterations, class by class, at the same value.

    python benchmarks/logme.py                                   # 10,000 samples, 2,048 dimensions, 100 classes
    python benchmarks/logme.py --samples 2000 --dimensions 256   # a short form
    python benchmarks/logme.py --public PATH                     # beside a checkout of thuml/LogME itself (needs numba)

The other sides are that code, compiled before it is timed, and the two published algorithms, written down as it
arranges them. *Fixed point* (You et al., JMLR 2022, arXiv 2110.10545): for N > D a singular value decomposition of
F^T F, the left singular vectors as a matrix, then for each class a projection and an iteration over singular values.
*MacKay* (You et al., ICML 2021, arXiv 2102.11005): the same decomposition, and an iteration over weights and residuals.
The first iterates until the ratio of precisions moves by less than 1e-12, so that values can be compared; its iteration
costs little. The second stops as published, at 1e-2 or after 11 steps, so its value is a little lower. All compute in
float64, in one thread (set OPENBLAS_NUM_THREADS=1 for numpy); the number is the least CPU time of the repeats.
"""

import argparse
import math
import sys
import time

import numpy as np
import torch
from _machine import keep_memory

from mentorch.transferability import Features, logme


def fixed_point(features: np.ndarray, labels: np.ndarray, *, tolerance: float = 1e-12, steps: int = 500) -> float:
    """The published algorithm; right for N > D and full rank, where it is used here."""
    count, size = features.shape
    _, squares, v = np.linalg.svd(features.T @ features)
    u = features @ v.T / np.sqrt(squares)  # [N, D]
    values = []
    for c in range(int(labels.max()) + 1):
        y = (labels == c).astype(np.float64)
        along = (u.T @ y) ** 2
        beyond = (y**2).sum() - along.sum()
        alpha = beta = 1.0
        for _ in range(steps):
            t = alpha / beta
            gamma = (squares / (squares + t)).sum()
            length = (squares * along / (t + squares) ** 2).sum()
            residual = (along / (1 + squares / t) ** 2).sum() + beyond
            alpha, beta = gamma / length, (count - gamma) / residual
            if abs(alpha / beta - t) <= tolerance * t:
                break
        evidence = size / 2 * math.log(alpha) + count / 2 * math.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        evidence -= beta / 2 * residual + alpha / 2 * length + count / 2 * math.log(2 * math.pi)
        values.append(evidence / count)
    return float(np.mean(values))


def mackay(features: np.ndarray, labels: np.ndarray) -> float:
    """The iteration published first, with its tolerance."""
    count, size = features.shape
    v, squares, _ = np.linalg.svd(features.T @ features)
    values = []
    for c in range(int(labels.max()) + 1):
        y = (labels == c).astype(np.float64)
        along = v.T @ (features.T @ y)
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (squares / (squares + t)).sum()
            weights = v @ (along * beta / (alpha + beta * squares))
            length, residual = (weights**2).sum(), ((y - features @ weights) ** 2).sum()
            alpha, beta = gamma / length, (count - gamma) / residual
            if abs(alpha / beta - t) < 1e-2 * t:
                break
        evidence = size / 2 * math.log(alpha) + count / 2 * math.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        evidence -= beta / 2 * residual + alpha / 2 * length + count / 2 * math.log(2 * math.pi)
        values.append(evidence / count)
    return float(np.mean(values))


def public(folder: str, features: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Both functions of the published code, which compiles itself when it is imported."""
    sys.path.insert(0, folder)
    from LogME import LogME

    return {
        "thuml/LogME, fixed point": least(lambda: LogME()._fit_fixed_point(features, labels), 1),
        "thuml/LogME, ICML 2021": least(lambda: LogME()._fit_icml(features, labels), 1),
    }


def least(function, repeats: int) -> tuple[float, float]:
    times = []
    for _ in range(repeats):
        began = time.process_time()
        value = float(function())
        times.append(time.process_time() - began)
    return min(times), value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {
        "samples": 10_000,
        "dimensions": 2048,
        "classes": 100,
        "repeats": 3,
        "their-repeats": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--public", help="a folder with LogME.py of thuml/LogME")
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(asked.classes, (asked.samples,), generator=generator)
    spectrum = torch.arange(1, asked.dimensions + 1) ** -0.5  # features of networks have few strong directions
    centres = torch.randn(asked.classes, asked.dimensions, generator=generator)
    noise = torch.randn(asked.samples, asked.dimensions, generator=generator)
    features = ((0.3 * centres[labels] + noise) * spectrum).relu()
    ours, mine = least(lambda: logme(features, labels), asked.repeats)
    shared = Features(features)
    logme(shared, labels)
    again, _ = least(lambda: logme(shared, labels), asked.repeats)
    arrays = features.double().numpy(), labels.numpy()
    rows = {
        "MacKay's iteration": least(lambda: mackay(*arrays), asked.their_repeats),
        "published fixed point": least(lambda: fixed_point(*arrays), asked.their_repeats),
        **(public(asked.public, *arrays) if asked.public else {}),
        "`logme`": (ours, mine),
        "`logme`, features factorised already, as for other labels": (again, mine),
    }
    print("| samples x dimensions, classes | algorithm | CPU s | times `logme` | value | differs by |")
    print("|---|---|---|---|---|---|")
    size = f"{asked.samples:,} x {asked.dimensions:,}, {asked.classes}"
    for name, (seconds, value) in rows.items():
        off = f"{abs(value - mine):.0e}" if value != mine else "0"
        print(f"| {size} | {name} | {seconds:.2f} | {seconds / ours:.1f} | {value:.9f} | {off} |", flush=True)


if __name__ == "__main__":
    main()
