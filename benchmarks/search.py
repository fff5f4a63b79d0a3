"""How many trials of a search evidence saves, and what the search is worth against random search.

    python benchmarks/search.py                                        # 5 repetitions of 30 trials, prints a table
    python benchmarks/search.py --repeats 2 --trials 8 --epochs 3      # a short form

On digits, a target of 438 parameters with two of three partners. Three searches per repetition: TPE that starts from
the partners' accuracies (they are trained for that, which a search with frozen partners needs anyway), TPE that starts
at random, and random search. The number is trials until one is within half a point of the best that any found.
"""

import argparse
import functools
import tempfile
from pathlib import Path

import torch

import mentorch as mt
from mentorch import data, networks, search

PARTNERS = ("cnn_tiny", "cnn_small", "cnn_medium")


def problem(train_size: int, epochs: int) -> search.Problem:
    digits = data.load("digits", train_size=train_size)
    return search.Problem(
        target=functools.partial(networks.build, "cnn_tiny", num_classes=10, in_channels=1),
        partners={name: functools.partial(networks.build, name, num_classes=10, in_channels=1) for name in PARTNERS},
        data=digits,
        fit=functools.partial(mt.fit, device="cpu", progress=False, tensorboard=False, checkpoint_seconds=1e9),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-2),
        epochs=epochs,
        view=data.Normalize(digits.mean, digits.std),
    )


def values(asked: search.Problem, run: Path, trials: int, seed: int, sampler: str, informed: bool) -> list[float]:
    """What the trials of one search were worth, in their order; networks and order of samples are the repetition's."""
    space = search.Space(PARTNERS)
    first = search.warm_start(space, search.scores(asked, run, seed=seed)) if informed else []
    found = search.search(
        asked, run, space=space, trials=trials, sampler=sampler, seeds=(seed,), sampler_seed=seed, first=first
    )
    return [trial.value or 0.0 for trial in sorted(found, key=lambda trial: trial.number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train-size", type=int, default=400)
    parser.add_argument("--within", type=float, default=0.005)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ways = {"evidence": ("tpe", True), "tpe": ("tpe", False), "random": ("random", False)}
    curves: dict[str, list[list[float]]] = {way: [] for way in ways}
    of = problem(asked.train_size, asked.epochs)
    for seed in range(asked.repeats):
        for way, (sampler, informed) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / way
                curves[way].append(values(of, run, asked.trials, seed, sampler, informed))
            found = curves[way][-1]
            print(f"repetition {seed}, {way}: best {max(found):.2%}, first {found[0]:.2%}", flush=True)
    print(
        "\n| search | first trial, mean | best, mean | trials until near the best | saved against tpe (95 % interval) |"
    )
    print("|---|---|---|---|---|")
    for way, own in curves.items():
        found = search.saving(own, curves["tpe"], asked.within)
        first, best = (sum(f(each) for each in own) / len(own) for f in (lambda each: each[0], max))
        saved = f"{found['saved']:.1f} ({found['low']:.1f} to {found['high']:.1f})" if found["low"] is not None else ""
        until = ", ".join(map(str, found["informed"]))
        print(f"| {way} | {first:.1%} | {best:.1%} | {until} | {saved if way != 'tpe' else ''} |")


if __name__ == "__main__":
    main()
