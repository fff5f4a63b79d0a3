"""Transferability scores beside the code of thuml/LogME and of the ranking module of thuml/Transfer-Learning-Library.

    python benchmarks/peers_scores.py --logme FOLDER --tll FOLDER    # checkouts; they need numba
    python benchmarks/peers_scores.py --samples 500 --dimensions 64  # a short form; who is absent is left out

The same features, labels and source probabilities for all, made up with the spectrum of a network's features, and each
function as it is published, after what it compiles was compiled. CPU time in one thread, calls taking turns: median of
the rounds, and median (lowest ... highest) of the ratio in one round. The last column is the difference of values,
relative to ours.

Where public code defines something else the difference is expected, and printed: thuml's fixed point and TLL's
iteration for LogME stop early (at 1e-3 and 1e-2), and the former adds 1e-5 to what it divides by. ``--few`` takes
fewer samples than dimensions, where thuml's fixed point is wrong (its evidence counts D precisions and sums over N).
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from _machine import keep_memory, machine
from _peers import AbsentError, add_folders, imported
from _steps import spread

from mentorch import transferability as ours

Score = Callable[[], float]


def logme_code(folder: str | None, x: np.ndarray, p: np.ndarray, y: np.ndarray) -> dict[str, tuple[str, Score]]:
    """The functions of thuml/LogME, each with the name of ours."""
    with imported(folder, "logme"):
        from LEEP import LEEP
        from LogME import LogME
        from NCE import NCE
    return {
        "thuml/LogME, `LogME.fit`": ("logme", lambda: LogME().fit(x, y)),
        "thuml/LogME, `_fit_icml`": ("logme", lambda: LogME()._fit_icml(x, y)),
        "thuml/LogME, `LEEP`": ("leep", lambda: LEEP(p, y)),
        "thuml/LogME, `NCE`": ("nce", lambda: NCE(p.argmax(1), y)),
    }


def tll_code(folder: str | None, x: np.ndarray, p: np.ndarray, y: np.ndarray) -> dict[str, tuple[str, Score]]:
    """The functions of TLL's ranking module, each with the name of ours."""
    with imported(folder and f"{folder}/tllib/ranking", "tll"):  # not through tllib, which imports torchvision
        from hscore import h_score, regularized_h_score
        from leep import log_expected_empirical_prediction
        from logme import log_maximum_evidence
        from nce import negative_conditional_entropy
        from transrate import transrate
    return {
        "TLL, `log_maximum_evidence`": ("logme", lambda: log_maximum_evidence(x, y)),
        "TLL, `h_score`": ("h_score", lambda: h_score(x, y)),
        "TLL, `regularized_h_score`": ("regularized_h_score", lambda: regularized_h_score(x, y)),
        "TLL, `log_expected_empirical_prediction`": ("leep", lambda: log_expected_empirical_prediction(p, y)),
        "TLL, `negative_conditional_entropy`": ("nce", lambda: negative_conditional_entropy(p.argmax(1), y)),
        "TLL, `transrate`": ("transrate", lambda: transrate(x, y)),
    }


def our_code(x: np.ndarray, p: np.ndarray, y: np.ndarray) -> dict[str, Score]:
    """The same scores here, each from features that nobody has factorised."""
    features, probabilities, labels = map(torch.from_numpy, (x, p, y))
    found: dict[str, Score] = {name: lambda name=name: getattr(ours, name)(features, labels) for name in OF_FEATURES}
    return found | {name: lambda name=name: getattr(ours, name)(probabilities, labels) for name in ("leep", "nce")}


OF_FEATURES = ("logme", "h_score", "regularized_h_score", "transrate")


def made_up(samples: int, dimensions: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features ``[N, D]``, probabilities of 100 source classes ``[N, 100]`` and labels ``[N]``, in float64."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % classes  # none is missing: TLL divides by zero otherwise
    spectrum = torch.arange(1, dimensions + 1) ** -0.5  # features of networks have few strong directions
    centres = torch.randn(classes, dimensions, generator=generator)
    noise = torch.randn(samples, dimensions, generator=generator)
    features = ((0.3 * centres[labels] + noise) * spectrum).relu()
    logits = 2 * torch.randn(samples, 100, generator=generator)
    logits[torch.arange(samples), labels * 3 % 100] += 2
    return features.double().numpy(), logits.double().softmax(1).numpy(), labels.numpy()


def timed(score: Score) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for instance that the H-score says nothing for N <= D
        began = time.process_time()
        value = float(score())
    return time.process_time() - began, value


def measure(samples: int, dimensions: int, classes: int, repeats: int, folders: dict[str, str | None]) -> None:
    """Print the rows of one size."""
    data, small = made_up(samples, dimensions, classes), made_up(300, 20, 10)
    mine = our_code(*data)
    for option, code in (("logme", logme_code), ("tll", tll_code)):
        try:
            theirs = code(folders[option], *data)
        except (AbsentError, ModuleNotFoundError) as error:
            print(f"{option} is left out: {error}", file=sys.stderr)
            continue
        for _, score in code(folders[option], *small).values():
            timed(score)  # compiles
        for name, (here, score) in theirs.items():
            rounds = [(timed(score), timed(mine[here])) for _ in range(repeats)]
            spent, ours_spent = ([each[side][0] for each in rounds] for side in (0, 1))
            (_, there), (_, value) = rounds[0]
            cells = (
                f"{samples:,} x {dimensions:,}",
                name,
                f"`{here}`",
                f"{statistics.median(spent):.3f}",
                f"{statistics.median(ours_spent):.3f}",
                spread(spent, ours_spent),
                f"{there:.8f}",
                f"{value:.8f}",
                f"{abs(there - value) / abs(value):.0e}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


HEAD = (
    "samples x dimensions",
    "public code",
    "here",
    "public, s",
    "here, s",
    "times faster (min ... max)",
    "public value",
    "value here",
    "differs by",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"samples": 5_000, "dimensions": 1024, "classes": 50, "repeats": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--few", action="store_true", help="half as many samples as dimensions")
    add_folders(parser, "logme", "tll")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    print(f"{machine()}\n")
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|", flush=True)
    samples = options.dimensions // 2 if options.few else options.samples
    folders = {"logme": options.logme, "tll": options.tll}
    measure(samples, options.dimensions, options.classes, options.repeats, folders)


if __name__ == "__main__":
    main()
