"""The page of a comparison."""

from html import escape
from typing import Any

from mentorch.reports._dense_table import BRANCHING, branch_points
from mentorch.reports._diagnosis import EDGES, PAIRS, STEPS, advice, crowds, edges, pairs, steps, teacher, warnings
from mentorch.reports._format import MISSING, count, dig, duration, number, shorten, text
from mentorch.reports._generations import generations
from mentorch.reports._html import document, facts_table, html_table, section, words_of
from mentorch.reports._looks import looks
from mentorch.reports._plot import Picture
from mentorch.reports._read import Run
from mentorch.reports._table import costs, measures, networks, table, together
from mentorch.reports._tasks import tasks_table
from mentorch.reports._trials import image, told, trials
from mentorch.reports._words import EPOCHS, failures, remarks, sentence

TERMS = (
    "The share of each edge in the sum of the weighted losses, mean over seeds; methods with one term are left out, "
    "and those with more than 12."
)
SHADING = (
    "Validation accuracy in percent; the darker, the higher. Learning nodes are round, frozen ones have corners. "
    "Lines: whole for a constant gate, dashes for one that rises, dots for one that falls; "
    "wide where the edge makes much of the gradient. In a matrix, rows learn from columns."
)
GRADIENTS = (
    "The share of each edge in the norms of the gradients of the network that learns; first seed, six pictures at most."
)
RIGHT = "Who is right, on the first 1,000 or so validation images; first seed, six pictures at most."
MATRICES = (
    "Rows are receivers, columns are senders, numbers are percent; first seed. Share of the gradient: what of its "
    "gradient a receiver owes to a sender, on the diagonal to the labels. Agreement: how often two name the same "
    "class, on the diagonal the accuracy."
)


def page(runs: list[tuple[Run, list[Picture]]]) -> str:
    """The whole page; one run fills it, several stand side by side in a table and one after the other below it."""
    names = [run.study.name for run, _ in runs]
    title = shorten(", ".join(names), 120)
    if len(runs) == 1:
        body = f"<header><h1>{words_of(title)}</h1>{_about(runs[0][0])}</header>{_sections(*runs[0], level=2)}"
    else:
        marks = [f"run-{i + 1}" for i in range(len(runs))]
        links = [f'<li><a href="#{mark}">{words_of(name)}</a></li>' for mark, name in zip(marks, names, strict=True)]
        body = f"<header><h1>{len(runs)} runs compared</h1><nav><ul>{''.join(links)}</ul></nav></header>"
        body += section("All runs", html_table(together([run.study for run, _ in runs]), "runs"), 2)
        for mark, (run, figures) in zip(marks, runs, strict=True):
            head = f'<h2 id="{mark}">{words_of(run.study.name)}</h2>{_about(run)}'
            body += f"<article>{head}{_sections(run, figures, level=3)}</article>"
    return document(title, body)


def _sections(run: Run, found: list[Picture], level: int) -> str:
    study = run.study
    other = f"Other measures, {study.split} split, {EPOCHS[study.which]}"
    notes = "".join(f"<li>{words_of(note)}</li>" for note in run.notes)
    return "".join(
        [
            f'<p class="result">{words_of(sentence(study.results))}</p>',
            "".join(f'<p class="failed">{words_of(line)}</p>' for line in warnings(study)),
            section("Results", _results(run), level),
            section(other, html_table(measures(study)), level),
            section("Tasks", html_table(tasks_table(study.results)), level),
            section("Generations", html_table(generations(study)) + _figures(found, "generations"), level),
            section("Branch points", _noted(branch_points(study.results), BRANCHING), level),
            section("Predictions", _figures(found, "predictions"), level),
            section("Search", _search(run, found), level),
            section("Training curves", _figures(found, "curves"), level),
            section("Loss terms", _figures(found, "terms", TERMS), level),
            section("Diagnosis", _diagnosis(run, found, level + 1), level),
            section("Spaces", _figures(found, "space"), level),
            section("Accuracy and size", _figures(found, "size"), level),
            section("Knowledge transfer graphs", _figures(found, "graph", SHADING), level),
            section("Cost", html_table(networks(study.results)) + html_table(costs(study)), level),
            section("Data", facts_table(_data(study.results)), level),
            section("Configuration", f"<pre>{escape(run.recipe)}</pre>" if run.recipe else "", level),
            section("Environment", facts_table(run.environment), level),
            section("How to reproduce", _reproduce(run), level),
            section("Missing from this run", f"<ul>{notes}</ul>" if notes else "", level),
        ]
    )


def _about(run: Run) -> str:
    results = run.study.results
    created = text(results.get("created") or "")[:16].replace("T", " ")
    seconds = duration(results.get("seconds")).strip(MISSING)
    words = [text(word) for word in (results.get("kind"), dig(results, "data", "name"), created, seconds) if word]
    return f'<p class="about">{words_of(" · ".join(words))}</p>' if words else ""


def _results(run: Run) -> str:
    study = run.study
    rows = table(study.results)
    failed = "".join(f'<li class="failed">{words_of(line)}</li>' for line in failures(study))
    note = f'<p class="note">{words_of(" ".join(remarks(study)))}</p>' if rows else "<p>No method was run.</p>"
    return html_table(rows) + note + (f"<p>Failed:</p><ul>{failed}</ul>" if failed else "")


def _search(run: Run, found: list[Picture]) -> str:
    if not run.search:
        return ""
    words = f"<p>{words_of(told(run.search))}</p>"
    return words + html_table(trials(run.search), "trials") + _figures(found, "trials")


def _diagnosis(run: Run, found: list[Picture], level: int) -> str:
    """What went on inside: in words, in tables, in pictures."""
    seen = looks(run)
    words = "".join(f"<p>{words_of(line)}</p>" for line in teacher(run.study))
    loud = "".join(f"<li>{words_of(line)}</li>" for line in advice(seen))
    parts = [
        ("Edges", _noted(edges(seen), EDGES + crowds(seen)) + (f"<ul>{loud}</ul>" if loud else "")),
        ("Shares of the gradient", _figures(found, "gradients", GRADIENTS)),
        ("Agreement", _noted(pairs(seen), PAIRS)),
        ("Who is right", _figures(found, "right", RIGHT)),
        ("Who tells whom", _figures(found, "matrix", MATRICES)),
        ("What a step is spent on", _noted(steps(seen), STEPS, "methods")),
    ]
    return words + "".join(section(title, body, level) for title, body in parts)


def _noted(rows: list[dict[str, str]], note: str, kind: str = "looks") -> str:
    return f'{html_table(rows, kind)}<p class="note">{words_of(note)}</p>' if rows else ""


def _figures(found: list[Picture], kind: str, note: str = "") -> str:
    figures = ""
    for picture in (one for one in found if one.kind == kind):
        drawn = image(picture) if kind == "trials" else picture.inline()
        drawing = f'<div class="scroll">{drawn}</div>'
        caption = f"<figcaption>{words_of(picture.caption)}</figcaption>"
        # where a caption is the name of a method it belongs above the drawing, an explanation below
        drawing += f"<pre>{escape(picture.words)}</pre>" if picture.words else ""
        figures += f"<figure>{caption + drawing if note else drawing + caption}</figure>"
    words = f'<p class="note">{words_of(note)}</p>' if note else ""
    return f'{words}<div class="figures {kind}">{figures}</div>' if figures else ""


def _data(results: dict[str, Any]) -> dict[str, Any]:
    data = results.get("data")
    facts = {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else {}
    return {name: count(value) if number(value) is not None else value for name, value in facts.items()}


def _reproduce(run: Run) -> str:
    if run.recipe is None:
        return ""
    return (
        "<pre>mentorch run recipe.yaml</pre><p>The recipe above, in the folder of this run, repeats these numbers.</p>"
    )
