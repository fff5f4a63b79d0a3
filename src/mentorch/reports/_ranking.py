"""The page of a ranking: who should teach, by which score, at what cost, and how far that can be believed."""

from html import escape
from pathlib import Path
from typing import Any

from mentorch._errors import RunError
from mentorch._files import read_json, write_text
from mentorch.reports._format import MISSING, amount, dig, number, shorten, signed, text
from mentorch.reports._html import document, facts_table, html_table, listed, section, words_of

SCHEMA = "mentorch.ranking/1"
_NOTE = (
    "Higher is better for every score; the first one orders the table. Parameters and the accuracy on a network's own "
    "data are what is known without looking at the target."
)
_AGREEMENT = (
    "Weighted Kendall tau between the orders that two columns give, 1 for the same order: exchanges among the best "
    "weigh most. Scores that do not agree cannot all be right."
)


def is_ranking(folder: Path) -> bool:
    """Whether a run folder holds a ranking and not a comparison."""
    try:
        found = read_json(folder / "results.json")
    except RunError:
        return False
    return isinstance(found, dict) and found.get("schema") == SCHEMA


def write_ranking(folder: Path, target: Path) -> Path:
    """Write ``report.html`` of the ranking in a run folder; the same file gives the same bytes again.

    Raises:
        RunError: if its results.json is damaged.
    """
    results = read_json(folder / "results.json")
    rows = results.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise RunError(f"{folder / 'results.json'} is damaged: 'rows' must be a list of objects that each have a name")
    recipe = folder / "recipe.yaml"
    environment = folder / "environment.json"
    configuration = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""
    machine = read_json(environment) if environment.is_file() else {}
    path = target / "report.html"
    write_text(path, _page(results, configuration, machine))
    return path


def ranking_sentence(results: dict[str, Any]) -> str:
    """What came out, in one sentence."""
    first, best = _first(results), _ranked(results)
    seen = (
        f"{results.get('samples')} images of {results.get('classes')} classes of {text(dig(results, 'data', 'name'))}"
    )
    if not best:
        return f"No network could be ranked by {first} on {seen}."
    value = number(dig(best[0], "scores", first))
    return (
        f"Of {len(best)} networks {text(best[0]['name'])} promises most: {first} {_value(value)}, from {seen}, "
        "before anything is trained."
    )


def ranking_table(results: dict[str, Any]) -> list[dict[str, str]]:
    """One row per network that was ranked, the best first."""
    scores = [text(score) for score in results.get("scores", ())]
    return [
        {
            "network": text(row["name"]),
            "architecture": text(row.get("network") or MISSING),
            **{score: _value(number(dig(row, "scores", score))) for score in scores},
            "own accuracy": _percent(row.get("own")),
            "parameters": amount(row.get("parameters")),
            "multiply-adds": amount(row.get("macs")),
            "seconds": f"{number(row.get('seconds')) or 0:.1f}",
            "trained on": shorten(text(row.get("dataset") or MISSING), 30),
        }
        for row in results.get("rows", ())
        if not row.get("failure")
    ]


def _page(results: dict[str, Any], recipe: str, environment: dict[str, Any]) -> str:
    created = text(results.get("created") or "")[:16].replace("T", " ")
    about = " · ".join(text(part) for part in ("rank", dig(results, "data", "name"), created) if part)
    title = shorten(text(results.get("name") or "ranking"), 120)
    failed = [f"{text(row['name'])}: {text(row['failure'])}" for row in results["rows"] if row.get("failure")]
    told = [f"{text(row['name'])}: {text(line)}" for row in results["rows"] for line in row.get("warnings") or ()]
    note = dig(results, "data", "note")
    body = [
        f'<header><h1>{words_of(title)}</h1><p class="about">{words_of(about)}</p></header>',
        f'<p class="result">{words_of(ranking_sentence(results))}</p>',
        "".join(f'<p class="failed">{words_of(line)}</p>' for line in results.get("warnings") or ()),
        section("Networks", _noted(html_table(ranking_table(results)), _NOTE), 2),
        section("Failed", listed(failed), 2),
        section("What each number is worth", listed(told), 2),
        section("Agreement", _noted(html_table(_agreement(results)), _band(results)), 2),
        section("Data", facts_table({**_known(results.get("data")), **({"note": note} if note else {})}), 2),
        section("Configuration", f"<pre>{escape(recipe)}</pre>" if recipe else "", 2),
        section("Environment", facts_table(environment), 2),
    ]
    return document(title, "".join(body))


def _noted(table: str, note: str) -> str:
    return f'{table}<p class="note">{words_of(note)}</p>' if table else ""


def _agreement(results: dict[str, Any]) -> list[dict[str, str]]:
    found = results.get("agreement")
    if not isinstance(found, dict):
        return []
    names = list(found)
    return [{"": text(a), **{text(b): _value(number(dig(found, a, b)), 2) for b in names}} for a in names]


def _band(results: dict[str, Any]) -> str:
    high = number(results.get("null"))
    chance = "" if high is None else f" Of random orders of so many networks 5 % reach {high:.2f}."
    return _AGREEMENT + chance


def _known(data: Any) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else {}


def _first(results: dict[str, Any]) -> str:
    scores = results.get("scores")
    return text(scores[0]) if isinstance(scores, list) and scores else MISSING


def _ranked(results: dict[str, Any]) -> list[dict[str, Any]]:
    first = _first(results)
    return [row for row in results.get("rows", ()) if number(dig(row, "scores", first)) is not None]


def _value(value: float | None, digits: int = 3) -> str:
    if value is None:
        return MISSING
    return signed(value, digits) if abs(value) < 1000 else f"{value:.4g}"


def _percent(value: object) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.1%}".replace("%", " %")
