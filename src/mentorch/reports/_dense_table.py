"""The table of a branching student: every task of everybody, and what it costs."""

from collections.abc import Mapping
from typing import Any

from mentorch.reports._format import MISSING, count, dig, number, text
from mentorch.reports._study import Group, Study, interval

# task -> measure, its column, factor, decimals
SHOWN: Mapping[str, tuple[tuple[str, str, float, int], ...]] = {
    "segmentation": (("miou", "mIoU %", 100, 1), ("pixel_accuracy", "pixel accuracy %", 100, 1)),
    "depth": (("rmse", "RMSE m", 1, 3), ("abs_rel", "abs rel", 1, 3), ("delta1", "delta 1 %", 100, 1)),
    "normals": (
        ("mean", "mean angle", 1, 1),
        ("median", "median angle", 1, 1),
        ("within_11_25", "< 11.25 degrees %", 100, 1),
    ),
}
HIGHER = frozenset({"miou", "pixel_accuracy", "delta1", "within_11_25"})


def dense_table(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each teacher on its own task, and each student on all, mean and half of the 95 % t interval over seeds.

    The first row is all teachers together: their sizes added up, which is what the students are to be compared with.
    """
    teachers = results.get("dense_teachers")
    if not isinstance(teachers, Mapping):
        return []  # another kind of run
    study = Study(dict(results))
    tasks = [task for task in SHOWN if task in teachers]
    rows = []
    for name, teacher in teachers.items():
        cells = _cells(
            tasks, lambda task, key, own=teacher, of=name: [dig(own, "test", f"{task} {key}")] * (task == of)
        )
        rows.append(
            {"who": f"{text(name)} teacher ({text(teacher.get('network'))})", **cells, **_size(teacher, "macs")}
        )
    total = {key: sum(number(t.get(key)) or 0 for t in teachers.values()) for key in ("parameters", "macs")}
    if len(teachers) > 1:
        rows.append({"who": "all teachers", **_cells(tasks, lambda task, key: []), **_size(total, "macs")})
    return rows + [_student(study, group, tasks) for group in study.groups]


def _student(study: Study, group: Group, tasks: list[str]) -> dict[str, str]:
    which = str(study.results.get("select"))
    cells = _cells(tasks, lambda task, key: list(group.values("test", which, f"{task} {key}").values()))
    mean = {key: group.mean(key) for key in ("parameters", "inference_macs")}
    return {"who": group.label, **cells, **_size(mean, "inference_macs")}


def _cells(tasks: list[str], values: Any) -> dict[str, str]:
    found = {}
    for task in tasks:
        for key, title, factor, digits in SHOWN[task]:
            known = [value for value in map(number, values(task, key)) if value is not None]
            shown = interval(known)
            found[title] = MISSING if shown is None else shown.show(digits, factor)
    return found


def _size(network: Mapping[str, Any], macs: str) -> dict[str, str]:
    return {"parameters": count(network.get("parameters")), "multiply-adds": count(network.get(macs))}


def dense_sentence(results: Mapping[str, Any]) -> str:
    """For each task, which students differ from the one that learned from labels by more than the noise."""
    study = Study(dict(results))
    which, found = str(results.get("select")), []
    base = next((group for group in study.groups if group.method == "labels"), None)
    for task, measures in SHOWN.items():
        if base is None or task not in results.get("dense_teachers", {}):
            continue
        key, title, factor, digits = measures[0]
        sign = 1 if key in HIGHER else -1
        better: list[str] = []
        worse: list[str] = []
        for group in study.groups:
            ours, theirs = (g.values("test", which, f"{task} {key}") for g in (group, base))
            gain = interval([sign * (ours[s] - theirs[s]) for s in ours if s in theirs])
            if group is base or gain is None or gain.low is None or gain.high is None:
                continue
            if gain.low > 0 or gain.high < 0:
                (better if gain.low > 0 else worse).append(f"{group.label} by {abs(gain.mean) * factor:.{digits}f}")
        told = [f"better: {', '.join(better)}"] * bool(better) + [f"worse: {', '.join(worse)}"] * bool(worse)
        found.append(f"{task} ({title}): {'; '.join(told) or 'no difference beyond the noise'}")
    if not found:
        return "Nothing was trained from labels to compare with."
    return f"Against the student from labels, paired by seed: {'. '.join(found)}."
