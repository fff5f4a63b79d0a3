"""The files of a report, written beside the run they tell about."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from mentorch._errors import UsageError
from mentorch._files import write_atomic, write_text
from mentorch.reports._dense_table import BRANCHING, branch_points
from mentorch.reports._diagnosis import EDGES, PAIRS, STEPS, advice, edges, pairs, steps, teacher, warnings
from mentorch.reports._figures import pictures
from mentorch.reports._format import text
from mentorch.reports._generations import generations
from mentorch.reports._looks import Looks, looks
from mentorch.reports._page import page
from mentorch.reports._plot import Picture
from mentorch.reports._ranking import is_ranking, write_ranking
from mentorch.reports._read import Run, read
from mentorch.reports._study import Study
from mentorch.reports._table import table, together
from mentorch.reports._tasks import tasks_table
from mentorch.reports._trials import told, trials
from mentorch.reports._words import failures, remarks, sentence

FACTS = ("method", "node", "seed", "epochs", "best_epoch", "seconds", "trained_samples", "macs", "parameters")


def write(runs: Path | Sequence[Path], out: Path | None = None) -> Path:
    """Write ``report.html``, ``summary.md``, ``results.csv`` and ``figures/`` of one run folder, or of several.

    Only files of the run folders are read: recipe.yaml, environment.json, results.json and the histories it names.
    The same files give the same bytes again.

    Args:
        runs: a run folder, or several to compare on one page.
        out: the folder to write to; by default the run folder itself, and required for several runs.

    Returns:
        The path of the page.

    Raises:
        UsageError: if there is no run, or several runs and no ``out``.
        RunError: if a results.json is missing or damaged, or ``out`` cannot be written.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    if len(folders) == 1 and is_ranking(folders[0]):
        return write_ranking(folders[0], out or folders[0])
    if not folders:
        raise UsageError("no run to report on: name at least one run folder")
    if out is None and len(folders) > 1:
        raise UsageError(f"a report on {len(folders)} runs needs a folder of its own: say where to write it")
    target = folders[0] if out is None else out
    read_runs = _distinct([read(folder) for folder in folders])
    prefixes = [""] if len(folders) == 1 else [f"{i + 1}-" for i in range(len(folders))]
    found = [(run, pictures(run, prefix)) for run, prefix in zip(read_runs, prefixes, strict=True)]
    for _, figures in found:
        for picture in figures:
            _save(picture, target / "figures")
    write_text(target / "summary.md", _summary(found))
    write_text(target / "results.csv", _csv(read_runs))
    path = target / "report.html"
    write_text(path, page(found))
    return path


def _distinct(runs: list[Run]) -> list[Run]:
    """Runs of one name get the name of their folder added."""
    names = [run.study.name for run in runs]
    return [
        replace(run, study=Study(run.study.results | {"name": f"{name} ({run.folder.name})"}))
        if names.count(name) > 1
        else run
        for name, run in zip(names, runs, strict=True)
    ]


def _save(picture: Picture, folder: Path) -> None:
    write_text(folder / f"{picture.name}.svg", picture.svg)
    if (png := picture.png) is not None:
        write_atomic(folder / f"{picture.name}.png", lambda temporary: _bytes(temporary, png))


def _bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _summary(found: list[tuple[Run, list[Picture]]]) -> str:
    lines = ["# Runs compared", "", *_markdown(together([run.study for run, _ in found])), ""] if len(found) > 1 else []
    for run, figures in found:
        lines += [f"# {_plain(run.study.name)}", "", _plain(sentence(run.study.results)), ""]
        lines += [*_markdown(table(run.study.results)), "", " ".join(remarks(run.study)), ""]
        if rows := tasks_table(run.study.results):
            lines += ["## Tasks", "", *_markdown(rows), ""]
        if rows := generations(run.study):
            lines += ["## Generations", "", *_markdown(rows), ""]
        if rows := branch_points(run.study.results):
            lines += ["## Branch points", "", BRANCHING, "", *_markdown(rows), ""]
        lines += [f"* failed: {_plain(line)}" for line in failures(run.study)] + [""] * bool(failures(run.study))
        lines += (
            ["## Search", "", _plain(told(run.search)), "", *_markdown(trials(run.search)), ""] if run.search else []
        )
        lines += _diagnosis(run)
        lines += [f"![{_plain(p.label)}](figures/{p.name}.svg)\n" for p in figures]
    return "\n".join(lines).rstrip() + "\n"


def _diagnosis(run: Run) -> list[str]:
    seen = looks(run)
    words = [f"* {_plain(line)}" for line in warnings(run.study)]
    words += [f"* {_plain(line)}" for line in (*teacher(run.study), *advice(seen))]
    tables = [[*_markdown(rows), "", note, ""] for rows, note in _tables(seen) if rows]
    lines = [*words, *([""] * bool(words)), *(line for table in tables for line in table)]
    return ["## Diagnosis", "", *lines] if lines else []


def _tables(seen: list[Looks]) -> list[tuple[list[dict[str, str]], str]]:
    return [(edges(seen), EDGES), (pairs(seen), PAIRS), (steps(seen), STEPS)]


def _markdown(rows: list[dict[str, str]]) -> list[str]:
    if not rows:
        return ["No method was run."]
    lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
    return [f"| {' | '.join(map(_plain, line))} |" for line in lines]


def _plain(value: str) -> str:
    """Text that Markdown shows as it is."""
    found = escape(text(value), quote=False)
    for mark in "\\|*_`[]":
        found = found.replace(mark, f"\\{mark}")
    return found


def _csv(runs: list[Run]) -> str:
    """One line per run, method and seed, with every measure of every split and epoch that was recorded."""
    rows = [_flat(run, row) for run in runs for row in run.study.results["rows"]]
    measured = dict.fromkeys(name for row in rows for name in row)
    columns = ["run", *FACTS, *(name for name in measured if name not in {"run", "error", *FACTS}), "error"]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _flat(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    flat = {"run": run.study.name} | {name: row[name] for name in (*FACTS, "error") if row.get(name) is not None}
    flat |= {name: row[name] for name in ("generation", "slim") if name in row}
    for split in ("validation", "test"):
        for which, measures in (row.get(split) or {}).items() if isinstance(row.get(split), dict) else ():
            for name, value in measures.items() if isinstance(measures, dict) else ():
                flat[f"{split}_{which}_{name}"] = "" if value is None else value
    return {text(name): text(value) if isinstance(value, str) else value for name, value in flat.items()}
