"""Tables as rows of text: the same ones for the terminal, the page and the summary."""

from typing import Any

from mentorch.reports._dense_table import dense_table
from mentorch.reports._format import MISSING, amount, count, dig, duration, milliseconds, number, ratio, stored, text
from mentorch.reports._study import Group, Interval, Study, interval

PERCENT = {
    "accuracy",
    "top5",
    "knn",
    "agreement",
    "ece",
    "retrieval_map",
    "precision_at_10",
    "precision_at_50",
    "precision_at_200",
}  # measures that are fractions; the others are shown as they are
NAMES = {
    "top5": "top-5 %",
    "agreement": "agreement with teacher %",
    "ece": "calibration error %",
    "cross_entropy": "cross-entropy",
    "teacher_kl": "KL to teacher",
    "retrieval_map": "retrieval mAP %",
    "precision_at_10": "precision at 10 %",
    "precision_at_50": "precision at 50 %",
    "precision_at_200": "precision at 200 %",
}
TOLD = {"accuracy", "knn"}  # measures that the comparison itself shows
UNTRAINED = "†"  # marks a method whose classifier no loss reaches


def table(results: dict[str, Any]) -> list[dict[str, str]]:
    """The comparison: the teacher first, then one row per method; every row maps a column's title to its text.

    Accuracies are percentages, mean ± half of the 95 % t interval over seeds, of the best-validation epoch and of the
    last one; the difference to scratch (to independent, in a search) is that of the selected epoch, in points, paired
    by seed. Samples and time are means per seed. Columns without a single entry are left out, so all rows have the same
    keys.

    Args:
        results: the content of results.json.

    Returns:
        The rows, in the order in which the methods ran; empty when there is nothing to tell.
    """
    if rows := dense_table(results):
        return rows
    study = Study(results)
    teacher = results.get("teacher")
    rows = [_teacher(study, teacher)] if isinstance(teacher, dict) else []
    return _filled(rows + [_method(study, group, teacher) for group in study.groups])


def together(studies: list[Study]) -> list[dict[str, str]]:
    """The tables of several runs as one."""
    rows = [{"run": study.name} | row for study in studies for row in table(study.results)]
    titles = dict.fromkeys(title for row in rows for title in row)
    return [{title: row.get(title, MISSING) for title in titles} for row in rows]


def measures(study: Study) -> list[dict[str, str]]:
    """Every other quantity measured at the selected epoch, mean ± half of the 95 % t interval."""
    places = [(group, dig(row, study.split, study.which)) for group in study.groups for row in group.rows]
    names = dict.fromkeys(name for _, found in places if isinstance(found, dict) for name in found if name not in TOLD)
    rows = []
    if isinstance(teacher := study.results.get("teacher"), dict):
        values = {name: number(dig(teacher, study.split, name)) for name in names}
        rows.append(
            {"method": "teacher"} | {_title(n): _measure(n, [] if v is None else [v]) for n, v in values.items()}
        )
    for group in study.groups:
        found = {name: list(group.values(study.split, study.which, name).values()) for name in names}
        rows.append({"method": group.label} | {_title(name): _measure(name, values) for name, values in found.items()})
    filled = _filled(rows)
    return filled if filled and len(filled[0]) > 1 else []


def networks(results: dict[str, Any]) -> list[dict[str, str]]:
    """Size and cost of one forward pass of teacher and student, with both ratios."""
    found: list[tuple[str, dict[str, Any]]] = [
        (role, results[role]) for role in ("teacher", "student") if isinstance(results.get(role), dict)
    ]
    rows = [
        {
            "network": f"{role} ({text(network.get('network') or '?')})",
            "parameters": count(network.get("parameters")),
            "MACs per image": amount(network.get("macs")),
            "weights": stored(network.get("bytes")),
            "one image": milliseconds(network.get("latency")),
        }
        for role, network in found
    ]
    if len(found) == 2:
        (_, teacher), (_, student) = found
        for title, one, other in (("teacher / student", teacher, student), ("student / teacher", student, teacher)):
            ratios = [ratio(one.get(key), other.get(key)) for key in ("parameters", "macs")]
            rows.append({"network": title, "parameters": ratios[0], "MACs per image": ratios[1]})
    return _filled(rows)


def costs(study: Study) -> list[dict[str, str]]:
    """What each method spent: means over seeds, and the time of all seeds together."""
    return _filled(
        [
            {
                "method": group.label,
                "epochs": _plain(group.mean("epochs")),
                "best epoch": _plain(group.mean("best_epoch")),
                "trained samples": count(group.mean("trained_samples")),
                "training MACs": amount(group.mean("macs")),
                "peak memory": stored(group.mean("peak_memory")),
                "time per seed": duration(group.mean("seconds")),
                "time in all": duration(sum(group.values("seconds").values()) if group.values("seconds") else None),
            }
            for group in study.groups
        ]
    )


def _titles(study: Study) -> tuple[str, ...]:
    accuracy = f"{study.split} accuracy %"
    ends = (f"points over {study.against}", "kNN accuracy %", "parameters", "compression", "trained samples", "time")
    return ("method", "seeds", f"{accuracy}, best epoch", f"{accuracy}, last epoch", *ends)


def _teacher(study: Study, teacher: dict[str, Any]) -> dict[str, str]:
    accuracy, knn = (number(dig(teacher, study.split, name)) for name in ("accuracy", "knn"))
    network = teacher.get("network") or teacher.get("name")
    cells = (
        f"teacher ({text(network)})" if network else "teacher",
        MISSING,
        MISSING if accuracy is None else f"{accuracy * 100:.{study.digits}f}",
        MISSING,
        MISSING,
        MISSING if knn is None else f"{knn * 100:.{study.digits}f}",
        count(teacher.get("parameters")),
        MISSING,
        MISSING,
        MISSING,
    )
    return dict(zip(_titles(study), cells, strict=True))


def _method(study: Study, group: Group, teacher: Any) -> dict[str, str]:
    done = len(group.rows) - len(group.failures)
    best, last = (_interval(study.accuracy(group, which), study) for which in ("best", "last"))
    knn = interval(list(group.values(study.split, study.which, "knn").values()))
    parameters = group.mean("parameters") or dig(study.results, "student", "parameters")
    cells = (
        group.label if group.classifies else f"{group.label} {UNTRAINED}",
        f"{done} of {len(group.rows)}" if group.failures else str(done),
        best if done else "failed",
        last if done else "failed",
        _interval(study.difference(group), study),
        _interval(knn, study),
        count(parameters),
        ratio(dig(teacher, "parameters"), parameters),
        count(group.mean("trained_samples")),
        duration(group.mean("seconds")),
    )
    return dict(zip(_titles(study), cells, strict=True))


def _interval(found: Interval | None, study: Study) -> str:
    return MISSING if found is None else found.show(study.digits, 100)


def _filled(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows without the columns that are empty in all of them."""
    kept = [name for name in (rows[0] if rows else {}) if any(row.get(name, MISSING) != MISSING for row in rows)]
    return [{name: row.get(name, MISSING) for name in kept} for row in rows]


def _measure(name: str, values: list[float]) -> str:
    found = interval(values)
    if found is None:
        return MISSING
    return found.show(1, 100) if name in PERCENT else found.show(3)


def _title(name: str) -> str:
    return NAMES.get(name, text(name).replace("_", " "))


def _plain(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"
