"""Run folders: read what is there, say what is not."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mentorch._errors import RunError
from mentorch._files import read_json
from mentorch.reports._format import number, text
from mentorch.reports._study import Group, Study

SCHEMA = "mentorch.results/1"


@dataclass(frozen=True)
class Run:
    """The files of one run folder; ``notes`` lists what was missing or damaged."""

    folder: Path
    study: Study
    recipe: str | None
    environment: dict[str, Any]
    histories: dict[str, list[dict[str, Any]]]
    notes: list[str] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)

    def history(self, group: Group) -> list[list[dict[str, Any]]]:
        """One list of epochs per seed of a group, for the seeds that have one."""
        found = (self.histories.get(str(row.get("history"))) for row in group.rows)
        return [epochs for epochs in found if epochs]


def read(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: if results.json is missing, damaged, or not of the schema ``mentorch.results/1``.
    """
    results = _results(folder / "results.json")
    notes: list[str] = []
    study = Study(results)
    paths = dict.fromkeys(str(row["history"]) for row in results["rows"] if row.get("history"))
    histories = {path: _history(folder, path, notes) for path in paths}
    notes += [
        f"{group.label}: no history of its epochs"
        for group in study.groups
        if not any("history" in r for r in group.rows)
    ]
    return Run(
        folder, study, _recipe(folder, notes), _environment(folder, notes), histories, notes, _search(folder, notes)
    )


def _results(path: Path) -> dict[str, Any]:
    results = read_json(path)
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else type(results).__name__
        raise RunError(f"{path} is not a results file: its schema is {found!r}, expected {SCHEMA!r}")
    rows = results.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "method" in row for row in rows):
        raise RunError(f"{path} is damaged: 'rows' must be a list of objects that each name their method")
    return results


def _history(folder: Path, path: str, notes: list[str]) -> list[dict[str, Any]]:
    """The epochs of one metrics.jsonl; a line cut short at the end is a run that was killed, and no matter."""
    file = folder / path
    try:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise OSError("it lies outside of the run folder")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        notes.append(f"{text(path)}: cannot be read ({text(reason)})")
        return []
    epochs: dict[float, dict[str, Any]] = {}  # a resumed run may repeat an epoch: the last one counts
    for place, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        epoch = number(entry.get("epoch")) if isinstance(entry, dict) else None
        if epoch is not None:
            epochs[epoch] = entry
        elif line.strip() and place < len(lines):
            notes.append(f"{text(path)}: line {place} is damaged and left out")
    return [epochs[epoch] for epoch in sorted(epochs)]


def _recipe(folder: Path, notes: list[str]) -> str | None:
    try:
        return (folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        notes.append("recipe.yaml: missing, so this run cannot be repeated from its folder")
        return None


def _search(folder: Path, notes: list[str]) -> dict[str, Any]:
    """What the search tried, if there was one."""
    if not (folder / "search.json").exists():
        return {}
    try:
        found = read_json(folder / "search.json")
    except RunError:
        found = None
    if not isinstance(found, dict):
        notes.append("search.json: damaged")
        return {}
    return found


def _environment(folder: Path, notes: list[str]) -> dict[str, Any]:
    try:
        found = read_json(folder / "environment.json")
    except RunError:
        notes.append("environment.json: missing or damaged")
        return {}
    return found if isinstance(found, dict) else {"environment": found}
