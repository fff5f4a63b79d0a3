"""The tables of a branching student: every task of everybody, what it costs, and where tasks branch."""

from collections.abc import Iterable, Mapping
from typing import Any

from mentorch.reports._format import MISSING, amount, dig, number, text
from mentorch.reports._study import Group, Interval, Study, interval

# task -> measure, its column, factor, decimals; the first decides
SHOWN: Mapping[str, tuple[tuple[str, str, float, int], ...]] = {
    "segmentation": (("miou", "mIoU %", 100, 1), ("pixel_accuracy", "pixel accuracy %", 100, 1)),
    "depth": (("rmse", "RMSE m", 1, 3), ("abs_rel", "abs rel", 1, 3)),
    "normals": (("mean", "mean angle", 1, 1), ("within_11_25", "< 11.25 degrees %", 100, 1)),
}
HIGHER = frozenset({"miou"})
BRANCHING = (
    "The loss of each teacher's tasks on validation images with its branch at each depth, counted in decoder blocks "
    "that are shared; * is where it leaves."
)


def dense_table(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each teacher on its own task, and each student on all, mean and half of the 95 % t interval over seeds.

    All teachers together are a row: their sizes added up, which is what those of students are to be compared with.
    """
    teachers = results.get("dense_teachers")
    if not isinstance(teachers, Mapping):
        return []  # another kind of run
    study = Study(dict(results))
    tasks = [task for task in SHOWN if task in teachers]
    rows = []
    for name, teacher in teachers.items():
        own = {(name, key): [dig(teacher, "test", f"{name} {key}")] for key, *_ in SHOWN.get(name, ())}
        who = f"{text(name)} teacher ({text(teacher.get('network'))})"
        rows.append({"method": who, **_size(teacher, "macs"), **_cells(tasks, own)})
    if len(teachers) > 1:
        total = {key: sum(number(t.get(key)) or 0 for t in teachers.values()) for key in ("parameters", "macs")}
        rows.append({"method": "all teachers", **_size(total, "macs"), **_cells(tasks, {})})
    return rows + [_student(study, group, tasks) for group in study.groups]


def _student(study: Study, group: Group, tasks: Iterable[str]) -> dict[str, str]:
    which = str(study.results.get("select"))
    own = {
        (task, key): list(group.values("test", which, f"{task} {key}").values())
        for task in tasks
        for key, *_ in SHOWN[task]
    }
    size = {key: group.mean(key) for key in ("parameters", "inference_macs")}
    failed = f" ({len(group.failures)} of {len(group.rows)} failed)" if group.failures else ""
    return {"method": group.label + failed, **_size(size, "inference_macs"), **_cells(tasks, own)}


def _cells(tasks: Iterable[str], values: Mapping[tuple[str, str], list[Any]]) -> dict[str, str]:
    found = {}
    for task in tasks:
        for key, title, factor, digits in SHOWN[task]:
            known = [value for value in map(number, values.get((task, key), [])) if value is not None]
            shown = interval(known)
            found[title] = MISSING if shown is None else shown.show(digits, factor)
    return found


def _size(network: Mapping[str, Any], macs: str) -> dict[str, str]:
    return {"parameters": amount(network.get("parameters")), "multiply-adds": amount(network.get(macs))}


def branch_points(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Loss on held-out images by depth, one row for each student and teacher, with the depth that was chosen."""
    rows = []
    for row in results.get("rows") or []:
        held = row.get("held_out")
        for name, losses in held.items() if isinstance(held, Mapping) else ():
            chosen = dig(row, "depths", name)
            cells = {
                f"depth {depth}": f"{loss:.4g}{' *' if str(chosen) == depth else ''}"
                for depth, loss in losses.items()
                if number(loss) is not None
            }
            rows.append({"who": f"{text(row['method'])}, seed {text(row.get('seed'))}", "task": text(name), **cells})
    titles = dict.fromkeys(title for row in rows for title in row)
    return [{title: row.get(title, MISSING) for title in titles} for row in rows]


def dense_sentence(results: Mapping[str, Any]) -> str:
    """For each task, which students differ from the one that learned from labels by more than the noise."""
    study = Study(dict(results))
    base = next((group for group in study.groups if group.method == "labels"), None)
    if base is None or len(study.groups) < 2:
        return "There is no student from labels to compare with." if base is None else "Only labels were learned from."
    found = {}
    for task, ((key, title, factor, digits), *_) in SHOWN.items():
        if task in (results.get("dense_teachers") or {}):
            gains = {group.label: _gain(study, base, group, task, key) for group in study.groups if group is not base}
            found[f"{task} ({title})"] = _told(gains, factor, digits)
    if not any(found.values()):
        return "Without several seeds no difference to the student from labels can be told from noise."
    words = [f"{task}: {told or 'too few seeds to tell from noise'}" for task, told in found.items()]
    return f"Against the student from labels, paired by seed: {'. '.join(words)}."


def _told(gains: Mapping[str, Interval | None], factor: float, digits: int) -> str:
    """Who is better and who worse by more than the noise; empty where no difference has an interval."""
    sure = {label: gain for label, gain in gains.items() if gain is not None and gain.low is not None}
    words = []
    for side, sign in (("better", 1), ("worse", -1)):
        those = [
            f"{label} by {abs(gain.mean) * factor:.{digits}f}"
            for label, gain in sure.items()
            if min((gain.low or 0) * sign, (gain.high or 0) * sign) > 0
        ]
        words += [f"{side}: {', '.join(those)}"] if those else []
    return "; ".join(words) or ("no difference beyond the noise" if sure else "")


def _gain(study: Study, base: Group, group: Group, task: str, key: str) -> Interval | None:
    """By how much a student is better than another, over the seeds that both have."""
    which, sign = str(study.results.get("select")), 1 if key in HIGHER else -1
    ours, theirs = (g.values("test", which, f"{task} {key}") for g in (group, base))
    return interval([sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs])
