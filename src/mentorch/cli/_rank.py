"""``mentorch rank``."""

import datetime
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from torch import Tensor, nn

from mentorch import methods, transferability, zoo
from mentorch._errors import RunError, UsageError, unknown
from mentorch._files import write_json
from mentorch._graph import Graph
from mentorch.cli import _networks, _training
from mentorch.cli._engine import engine
from mentorch.cli._experiment import carry_out
from mentorch.cli._notation import SCRATCH
from mentorch.cli._rank_recipe import RankRecipe
from mentorch.cli._rank_rows import Rows
from mentorch.cli._run import Session
from mentorch.cli._terminal import err, out, show_table
from mentorch.comparison import Method, environment
from mentorch.data import Dataset, Split
from mentorch.data._splits import subset
from mentorch.transferability import Ranking, Row

SCHEMA = "mentorch.ranking/1"


def run(recipe: RankRecipe, session: Session) -> None:
    """Rank, write the run folder, show the table; then teach a student, if that was asked for."""
    data = _training.dataset(recipe, recipe.train_size)
    count = min(recipe.samples, len(data.train))
    shown = data.train.select(subset(data.train.labels, count, recipe.split_seed))
    scores = [_score(name) for name in recipe.scores]
    entries = list(zoo.entries(recipe.zoo))
    usable = sum(not entry.failure for entry in entries)
    names = ", ".join(recipe.scores)
    session.tell(f"{usable} of {len(entries)} networks in {recipe.zoo}; {len(shown)} images of {data.name}: {names}")
    if session.dry_run:
        return
    with session.hold():
        ranking = _rank(recipe, session, entries, shown, data, scores)
        results = _results(recipe, session, data, ranking)
        write_json(session.folder / "results.json", results)
        write_json(session.folder / "environment.json", environment())
        _finish(session, results, alone=recipe.distill is None or not ranking.ranked)
        if not ranking.ranked:
            raise RunError(f"no network of {recipe.zoo} could be ranked, the first failed by: {_why(ranking.rows[0])}")
        if recipe.distill is not None:
            _teach(recipe, recipe.distill, session, data, ranking, results)


def _rank(
    recipe: RankRecipe,
    session: Session,
    entries: list[zoo.Entry],
    shown: Split,
    data: Dataset,
    scores: list[Callable[..., Tensor]],
) -> Ranking:
    shown = shown.to(_training.device(recipe)) if recipe.alone else shown
    reference = zoo.load(recipe.reference, trust=recipe.trust) if recipe.reference is not None else None
    rows = Rows(session.folder / "rows.jsonl", entries, [data.fingerprint, reference and reference[1].hash])
    known = rows.read()
    if known:
        session.tell(f"{len(known)} networks were looked at before")

    def tell(row: Row) -> None:
        rows.add(row)
        first = recipe.scores[0]
        words = row.failure or f"{first} {row.column(first):.4f}  ({row.seconds:.1f} s)"
        session.tell(f"{row.name}: {words}")

    return transferability.rank(
        entries,
        shown.images,
        shown.labels,
        scores=scores,
        reference=reference,
        at=recipe.at,
        classes=data.num_classes,
        probes=recipe.probes,
        trust=recipe.trust,
        batch_size=recipe.eval_batch_size,
        engine=engine(recipe.engine, recipe.workers),
        known=known,
        on_row=tell,
    )


def _teach(
    recipe: RankRecipe, student: str, session: Session, data: Dataset, ranking: Ranking, results: dict[str, Any]
) -> None:
    """The student from the best networks, and beside it the student alone, in a run folder inside this one."""
    inner = recipe.model_copy(update={"out": str(session.folder), "name": "distill"})
    resume = session.resume and (session.folder / "distill" / "recipe.yaml").exists()
    part = Session(inner, resume=resume, quiet=session.quiet, as_json=session.as_json, within=results)
    view = _training.view(recipe, data)
    batch = _training.example(data)

    def suggested(network: nn.Module) -> Graph:
        return methods.suggest(ranking, data, network, k=recipe.k, view=view, trust=recipe.trust, example=batch).graph

    named = functools.partial(_networks.make, student, data)
    with part.hold():
        part.tell(str(suggested(named().network)))
        asked = {
            SCRATCH: Method(functools.partial(methods.supervise, view=view)),
            "suggested": Method(suggested),
        }
        carry_out(inner, part, data, asked, student=named, fit=_training.trainer(recipe, data), view=view)


def _score(name: str) -> Callable[..., Tensor]:
    """``knn`` or ``knn:k=5``."""
    known = transferability.catalogue()
    base, _, option = name.partition(":")
    if base not in known:
        raise unknown("score", base, known)
    if not option:
        return known[base].function
    key, _, value = option.partition("=")
    options = [p.name for p in inspect.signature(known[base].function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not options:
        raise UsageError(f"score {name!r}: {base} has no options")
    if key not in options:
        raise unknown(f"option of score {base}", key, options)
    try:
        return functools.partial(known[base].function, **{key: json.loads(value)})
    except ValueError as error:
        raise UsageError(f"score {name!r}: an option is written {base}:NAME=NUMBER") from error


def _why(row: Row) -> str:
    """Why a network has no place in the order."""
    return row.failure or "; ".join(row.warnings)


def _results(recipe: RankRecipe, session: Session, data: Dataset, ranking: Ranking) -> dict[str, Any]:
    """What the run folder keeps; ``docs/results.md``."""
    return {
        "schema": SCHEMA,
        "name": session.folder.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "zoo": str(Path(recipe.zoo)),
        "data": {
            "name": data.name,
            "classes": data.num_classes,
            "train": len(data.train),
            "note": data.note,
            "fingerprint": data.fingerprint,
        },
        **ranking.to_plain(),
    }


def _finish(session: Session, results: dict[str, Any], *, alone: bool) -> None:
    """Show the ranking, as JSON only if nothing follows, and write its page."""
    from mentorch.reports import ranking_sentence, ranking_table, write

    page = write(session.folder) if session.recipe.results else None
    for warning in results["warnings"]:
        err.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if session.as_json and alone:
        typer.echo(json.dumps(results, indent=2))
    elif not session.as_json:
        show_table(ranking_table(results), title=f"{session.folder.name}: {results['data']['name']}")
        out.print(ranking_sentence(results), markup=False)
    if page is not None:
        err.print(f"report: {page}", markup=False, soft_wrap=True)
