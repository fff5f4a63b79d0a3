"""The result in words, no stronger than the data, and what a reader must know about it."""

from typing import Any

from mentorch.reports._dense_table import dense_sentence
from mentorch.reports._format import signed
from mentorch.reports._study import Group, Interval, Study
from mentorch.reports._table import UNTRAINED

EPOCHS = {"best": "best-validation epoch", "last": "last epoch"}


def sentence(results: dict[str, Any]) -> str:
    """What came out, in one sentence: which methods differ from scratch (or independent) by more than the noise.

    A method counts as above (below) scratch when the whole 95 % t interval of the difference, paired by seed,
    lies above (below) zero. Methods that never train their classifier are left out.

    >>> row = {"node": "student", "seed": 0, "test": {"best": {"accuracy": 0.9}}}
    >>> sentence({"rows": [row | {"method": "kd"}]})
    'kd reaches 90.0 % test accuracy (1 seed); there is no scratch to compare with.'
    """
    study = Study(results)
    told = dense_sentence(results) if "dense_teachers" in results else _result(study)
    failed = sum(len(group.failures) for group in study.groups)
    total = sum(len(group.rows) for group in study.groups)
    tail = f" {failed} of {total} trainings failed." if failed else ""
    return told + tail


def remarks(study: Study) -> list[str]:
    """What a reader of the table must know."""
    found = ["± is half of the 95 % t interval over seeds; a single seed has none."]
    if any(study.difference(group) for group in study.groups):
        found.append(
            f"Points over {study.against}: {EPOCHS[study.which]}, paired by seed, "
            "not corrected for the number of methods."
        )
    if study.split != "test" and "dense_teachers" not in study.results:
        found.append(
            "Nothing was measured on a test split: these are validation accuracies, on which epochs were selected."
        )
    if not all(group.classifies for group in study.groups):
        found.append(f"{UNTRAINED} No loss trains its classifier: judge it by kNN accuracy.")
    return found


def failures(study: Study) -> list[str]:
    """One line per training that failed."""
    return [f"{g.label}, seed {seed}: {error}" for g in study.groups for seed, error in g.failures]


def _result(study: Study) -> str:
    measured = [(group, study.accuracy(group, study.which)) for group in study.groups if group.classifies]
    accuracies = [(group, accuracy) for group, accuracy in measured if accuracy is not None]
    if not accuracies:
        return "No accuracy was measured."
    differences = [(group, study.difference(group)) for group, _ in accuracies]
    compared = [(group, difference) for group, difference in differences if difference is not None]
    if compared:
        return _compared(study, compared)
    group, accuracy = max(accuracies, key=lambda pair: pair[1].mean)
    bare = f"only {group.label} was measured" if group is study.baseline else "there is no scratch to compare with"
    reached = f"{accuracy.show(study.digits, 100)} % {study.split} accuracy ({_seeds(accuracy.n)})"
    verb = "reaches" if len(accuracies) == 1 else "is highest with"
    return f"{group.label} {verb} {reached}; {bare}."


def _compared(study: Study, compared: list[tuple[Group, Interval]]) -> str:
    compared = sorted(compared, key=lambda pair: -pair[1].mean)
    above = [pair for pair in compared if pair[1].low is not None and pair[1].low > 0]
    below = [pair for pair in compared if pair[1].high is not None and pair[1].high < 0][::-1]
    if above:
        told = [_difference(study, *above[0]), *(_difference(study, *pair, full=False) for pair in above[1:4])]
        told += [f"and {len(above) - 4} more"] if len(above) > 4 else []
        worse = f"; below it beyond the noise: {', '.join(group.label for group, _ in below)}" if below else ""
        return f"{', '.join(told)}{worse}."
    best = _difference(study, *compared[0])
    if all(difference.low is None for _, difference in compared):
        return f"{best}; without several seeds this cannot be told from noise."
    if len(below) == len(compared):
        return f"Every method is below {study.against} beyond the noise; the nearest: {best}."
    return f"No method beats {study.against} beyond the noise; the highest: {best}."


def _difference(study: Study, group: Group, difference: Interval, full: bool = True) -> str:
    digits = study.digits
    side = "above" if difference.mean >= 0 else "below"
    points = f"{abs(difference.mean) * 100:.{digits}f} points {side} {study.against}"
    if difference.low is None or difference.high is None:
        return f"{group.label} is {points} ({_seeds(difference.n) if difference.n else 'different seeds'})"
    low, high = signed(difference.low * 100, digits), signed(difference.high * 100, digits)
    if not full:
        return f"{group.label} {signed(difference.mean * 100, digits)} ({low} to {high}; {_seeds(difference.n)})"
    return f"{group.label} is {points} (95 % interval of the difference {low} to {high}; {_seeds(difference.n)})"


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
