"""``mentorch search``."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from torch import nn

from mentorch import losses
from mentorch._edge import Loss
from mentorch._errors import RunError, UsageError, unknown
from mentorch.cli import _networks, _training
from mentorch.cli._experiment import carry_out
from mentorch.cli._memory import keep_freed_memory
from mentorch.cli._recipe import Recipe
from mentorch.cli._run import Session
from mentorch.cli._search_recipe import SearchRecipe
from mentorch.cli._terminal import show_table
from mentorch.cli._yaml import read_recipe
from mentorch.data import Dataset
from mentorch.search import (
    Candidate,
    Problem,
    Space,
    Trial,
    contestants,
    plot,
    scores,
    search,
    warm_start,
)

SHOWN = 10  # trials in the table
# what must be the same for all who share a search; the data, the networks and the space are compared by themselves
_TRAINING = {
    name
    for name, field in Recipe.model_fields.items()
    if (field.json_schema_extra or {}).get("panel") == "Training"  # type: ignore[union-attr]
} - {"seeds"} | {"precision", "protocol", "augment"}


def run(recipe: SearchRecipe, session: Session, workers: int = 1) -> None:
    """Search with so many processes, then train the best graphs again."""
    _silence()
    space, data = _space(recipe), _training.dataset(recipe, recipe.train_size).to(_training.device(recipe))
    problem = _problem(recipe, data)
    _rehearse(recipe, problem, space, session)
    if session.dry_run:
        return
    with session.hold():
        with _helpers(session.folder, workers - 1, session):
            found = _search(recipe, problem, space, session.folder, _teller(recipe, session))
        best = [trial for trial in found if trial.state == "complete"]
        if not best:
            raise RunError(f"no trial was completed, the last error was: {found[-1].error if found else 'none'}")
        plot(session.folder, recipe.storage)
        session.tell(f"best graph, trial {best[0].number}:\n{best[0].candidate}")
        if not recipe.finals:
            _show(found, session)
            return
        last = dataclasses.replace(problem, fit=_training.trainer(recipe, data))  # looked at more closely than trials
        methods = contestants(problem, session.folder, [t.candidate for t in best[: recipe.finals]], space=space)
        named = functools.partial(_networks.make, recipe.target, data)
        session.resume = True  # the folder is held, and what it has of these runs counts
        carry_out(recipe, session, data, methods, student=named, fit=last.train, view=problem.view)


def join(folder: Path, quiet: bool) -> None:
    """Help with the search of a run folder until it is over.

    Raises:
        UsageError: if the folder is not one of a search.
    """
    _silence()
    keep_freed_memory()
    path = folder / "recipe.yaml" if folder.is_dir() else folder
    recipe = read_recipe(path)
    if not isinstance(recipe, SearchRecipe):
        raise UsageError(f"{path} is not the recipe of a search")
    session = Session(recipe.model_copy(update={"name": None}), quiet=quiet)
    data = _training.dataset(recipe, recipe.train_size).to(_training.device(recipe))
    _search(recipe, _problem(recipe, data), _space(recipe), path.parent, _teller(recipe, session))


def _search(recipe: SearchRecipe, problem: Problem, space: Space, folder: Path, tell: Any) -> list[Trial]:
    first: list[Candidate] = []
    if recipe.evidence != "none":
        first = warm_start(space, scores(problem, folder, recipe.evidence, recipe.trial_seeds[0]))
    elif recipe.scores:
        first = warm_start(space, recipe.scores)
    return search(
        problem,
        folder,
        space=space,
        trials=recipe.trials,
        sampler=recipe.sampler,
        pruner=recipe.pruner,
        storage=recipe.storage,
        seeds=recipe.trial_seeds,
        sampler_seed=recipe.sampler_seed,
        first=first,
        on_trial=tell,
    )


def _space(recipe: SearchRecipe) -> Space:
    found = {name: _loss(name) for name in recipe.loss}
    return Space(recipe.partners, recipe.nodes, recipe.gates, recipe.label_gates, found, recipe.temperature)


def _loss(name: str) -> Loss:
    known = {
        key: info.function
        for key, info in losses.catalogue().items()
        if info.reads == "logits" and info.teacher and info.by_name and not info.pairs and not info.is_class
    }
    if name not in known:
        raise unknown("loss on logits", name, known)
    return functools.partial(losses.kd, temperature=1.0) if name == "kd" else known[name]


def _problem(recipe: SearchRecipe, data: Dataset) -> Problem:
    def make(name: str) -> nn.Module:
        return _networks.make(name, data).network

    view = _training.view(recipe, data)
    if isinstance(view, nn.Module):
        view.to(data.train.images.device)
    told = {name: value for name, value in recipe.to_plain().items() if name in _TRAINING}
    return Problem(
        target=functools.partial(make, recipe.target),
        partners={name: functools.partial(make, name) for name in recipe.partners},
        data=data,
        fit=functools.partial(_training.trainer(recipe, data), progress=False, diagnose=None),
        optimizer=_training.optimizer(recipe),
        epochs=recipe.epochs,
        view=view,
        augment=_training.augmentation(recipe, data),
        batch_size=recipe.batch_size,
        eval_batch_size=recipe.eval_batch_size,
        target_name=recipe.target,
        about=json.dumps(told, sort_keys=True),
    )


def _rehearse(recipe: SearchRecipe, problem: Problem, space: Space, session: Session) -> None:
    """Say what will be searched, and try a graph of all partners on a few images.

    Raises:
        UsageError: for anything that would fail in a trial.
    """
    partners = (recipe.partners * recipe.nodes)[: recipe.nodes - 1]
    full = Candidate(partners, ((("through",) * recipe.nodes),) * recipe.nodes, next(iter(space.losses)))
    networks = {name: problem.partners[p]() for name, p in zip(full.names[1:], partners, strict=True)}
    example = _training.example(problem.data)
    for name in space.losses:
        graph = full.draw({"target": problem.target(), **networks}, space.losses[name], problem.view)
        graph.to(example.inputs.device).build(*example)
    sizes = f"{len(problem.data.train)} training and {len(problem.data.validation)} validation images"
    gates, own = ", ".join(map(str, space.gates)), ", ".join(map(str, space.labels or ()))
    session.tell(
        f"{problem.data.name}: {sizes}\n"
        f"{space.size:,} combinations: {recipe.target} and {recipe.nodes - 1} of {', '.join(recipe.partners)}; "
        f"gates {gates}, from labels {own}\n"
        f"{recipe.trials} trials of {recipe.epochs} epochs into {session.folder}"
    )


def _teller(recipe: SearchRecipe, session: Session) -> Any:
    def tell(trial: Trial, done: list[Trial]) -> None:
        best = done[0]
        words = trial.error if trial.value is None else f"{trial.value:.2%}"
        state = "" if trial.state == "complete" else f" {trial.state}"
        top = "" if best.value is None else f"; best {best.value:.2%} in trial {best.number}"
        session.tell(f"trial {trial.number}{state}: {words} ({len(done)} of {recipe.trials}{top})")

    return tell


def _show(found: list[Trial], session: Session) -> None:
    rows = [
        {
            "trial": str(trial.number),
            "validation": "" if trial.value is None else f"{trial.value:.2%}",
            "state": trial.state,
            "partners": ", ".join(trial.candidate.partners) or "none",
            "seconds": f"{trial.seconds:.1f}",
        }
        for trial in found[:SHOWN]
    ]
    if session.as_json:
        typer.echo((session.folder / "search.json").read_text(encoding="utf-8"))
    else:
        show_table(rows, title=f"{session.folder.name}: the best of {len(found)} trials")


@contextlib.contextmanager
def _helpers(folder: Path, count: int, session: Session) -> Iterator[None]:
    """So many processes that join the search, for as long as it lasts."""
    command = [sys.executable, "-m", "mentorch", "search", "--join", str(folder)]
    share = str(max(1, (os.cpu_count() or 1) // (count + 1)))
    environment: Mapping[str, str] = {"OMP_NUM_THREADS": share, **os.environ}
    helpers = []
    with contextlib.ExitStack() as stack:
        for i in range(count):
            log = stack.enter_context((folder / f"worker-{i + 2}.log").open("ab"))
            helpers.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        try:
            yield
        except BaseException:
            for helper in helpers:
                if helper.poll() is None:
                    helper.send_signal(signal.SIGINT)
            raise
        finally:
            for i, helper in enumerate(helpers):
                if helper.wait() not in (0, 130):
                    session.tell(f"worker {i + 2} ended with an error, see {folder / f'worker-{i + 2}.log'}")


def _silence() -> None:
    """Optuna says of each study that it was made; what matters is told here."""
    with contextlib.suppress(ModuleNotFoundError):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
