"""The trials of a search: which graphs were tried, and what they were worth."""

from base64 import b64encode
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from mentorch.reports._format import MISSING, count, dig, duration, number, text
from mentorch.reports._plot import Picture

SHOWN = 20  # trials; all are in search.json
LARGEST = 5_000_000  # bytes of a drawing that a page takes in
DRAWINGS = {
    "history": "Accuracy of the trials in their order, and the best so far",
    "importance": "How much each choice matters for the accuracy",
    "choices": "Choices and accuracy of every trial",
    "epochs": "Accuracy of the trials over their epochs",
    "timeline": "When each trial ran",
}
"""Optuna's pictures in ``figures/search-NAME.svg``, in the order of the page; others follow."""


def trials(search: dict[str, Any]) -> list[dict[str, str]]:
    """The best trials, best first, one row each: gates are rows of receivers, the target first."""
    found = sorted(_entries(search), key=lambda trial: (_state(trial) != "complete", -_value(trial)))
    rows = []
    for trial in found[:SHOWN]:
        candidate = trial.get("candidate")
        opens = number(trial.get("opens_at"))
        value = number(trial.get("value"))
        rows.append(
            {
                "trial": text(trial.get("number", MISSING)),
                "validation accuracy %": MISSING if value is None else f"{100 * value:.2f}",
                "state": _state(trial),
                "partners": ", ".join(map(text, _list(dig(candidate, "partners")))) or MISSING,
                "gates (row = receiver)": _gates(candidate),
                "loss": text(dig(candidate, "loss") or MISSING),
                "open by": MISSING if opens is None else f"{100 * opens:.0f} %",
                "time": duration(trial.get("seconds")),
                "graph": text(trial.get("digest") or trial.get("graph") or MISSING)[:8],
            }
        )
    return rows


def told(search: dict[str, Any]) -> str:
    """How far the search went, in a sentence or two."""
    found = _entries(search)
    states = Counter(map(_state, found))
    outcome = ", ".join(f"{amount} {state}" for state, amount in states.items())
    room = f" of {count(search.get('combinations'))} combinations" if number(search.get("combinations")) else ""
    how = f"sampler {text(search.get('sampler', MISSING))}, pruner {text(search.get('pruner', MISSING))}"
    words = f"{len(found)} graphs{room} were trained ({how}): {outcome or 'none'}."
    skipped = search.get("skipped")
    if isinstance(skipped, dict) and skipped:
        words += f" Not trained: {', '.join(f'{count(n)} {text(why)}' for why, n in skipped.items())}."
    if len(found) > SHOWN:
        words += f" The best {SHOWN} are shown, all are in search.json."
    return words + " Accuracy is that of the target on validation images at the last epoch; test images were not seen."


def drawings(folder: Path, prefix: str = "") -> list[Picture]:
    """Optuna's own pictures, as they are."""
    files = sorted((folder / "figures").glob("search-*.svg"))
    order = list(DRAWINGS)
    named = {file: file.stem.removeprefix("search-") for file in files if file.stat().st_size <= LARGEST}
    ordered = sorted(named, key=lambda file: order.index(named[file]) if named[file] in order else len(order))
    return [
        Picture(
            "trials", f"{prefix}{file.stem}", DRAWINGS.get(name := named[file], name), DRAWINGS.get(name, name), svg
        )
        for file in ordered
        if (svg := file.read_text(encoding="utf-8", errors="replace")).strip()
    ]


def image(picture: Picture) -> str:
    """A drawing of somebody else, as an image: nothing inside of it can run, or reach the page."""
    data = b64encode(picture.svg.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(picture.label)}">'


def _entries(search: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial for trial in _list(search.get("trials")) if isinstance(trial, dict)]


def _state(trial: dict[str, Any]) -> str:
    return text(trial.get("state") or "unknown").lower()


def _value(trial: dict[str, Any]) -> float:
    value = number(trial.get("value"))
    return float("-inf") if value is None else value


def _gates(candidate: Any) -> str:
    rows = [" ".join(map(text, _list(row))) for row in _list(dig(candidate, "gates"))]
    return " / ".join(rows) or MISSING


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
