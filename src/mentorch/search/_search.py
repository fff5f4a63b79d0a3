"""The search: propose a graph, train it unless it is known, tell what it was worth; with others at the same time."""

import datetime
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mentorch._errors import RunError, UsageError
from mentorch._files import write_json
from mentorch.search import _lease
from mentorch.search._candidate import Candidate
from mentorch.search._problem import Problem
from mentorch.search._space import Space
from mentorch.search._study import Pruner, Sampler, first_prunable, open_study
from mentorch.search._worker import Worker, counts

SCHEMA = "mentorch.search/1"
POLL = 0.5  # seconds between looks at what others do

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A graph that was trained.

    Attributes:
        number: in the study.
        candidate: the graph, in canonical form.
        digest: its hash: that of every graph which trains the target in the same way.
        state: ``pruned`` ones were given up early, ``failed`` ones have an ``error``.
        value: validation accuracy of the target at the last epoch, mean over seeds; of a pruned one where it ended.
        seconds: of training.
        error: why it failed.
    """

    number: int
    candidate: Candidate
    digest: str
    state: State
    value: float | None
    seconds: float
    error: str = ""


def search(
    problem: Problem,
    run: str | Path,
    *,
    space: Space | None = None,
    trials: int = 100,
    sampler: Sampler = "tpe",
    pruner: Pruner = "none",
    storage: str | None = None,
    seeds: Sequence[int] = (0,),
    sampler_seed: int = 0,
    first: Iterable[Candidate] = (),
    lease: float = _lease.SECONDS,
    on_trial: Callable[[Trial, list[Trial]], None] | None = None,
) -> list[Trial]:
    """Search the graph in which the target learns best; call it in several processes to share the work.

    The objective is the target's accuracy on validation data at the last epoch. Graphs that train the target in the
    same way are trained once, whoever draws them; those in which it learns from nobody, never. A worker that dies, also
    by SIGKILL, loses nothing: another one goes on with its trial where the last checkpoint is. Call it again with the
    same folder to go on, or with a larger ``trials`` to search further.

    Args:
        problem: what is trained, on what, and how.
        run: folder for everything: the study, ``trials/HASH/``, ``partners/``, ``search.json``.
        space: what may be chosen; all partners of the problem, three nodes and the paper's gates unless given.
        trials: how many graphs are trained in all, by all workers, counting those that were pruned or failed.
        sampler: ``tpe`` (multivariate, after 20 random trials) or ``random``, which is the baseline.
        pruner: ``asha`` or ``hyperband`` give up the worse half of the trials, at equal epochs, once every gate of the
            space has opened and a tenth of training has passed since. With ``linear_up`` that is after 60 % of the
            epochs, so little is saved.
        storage: ``study.journal`` unless given; a path from the folder that ends in ``.journal``, ``.db`` or
            ``.sqlite``, or the URL of a database for several machines.
        seeds: each graph is trained once per seed, and the mean counts; only the first one may be pruned.
        sampler_seed: of the sampler.
        first: graphs to try before all others, see :func:`mentorch.search.warm_start`.
        lease: seconds of silence after which a worker on another machine counts as dead. On this machine its process
            is looked for.
        on_trial: hears of each trial that this process finished, and of all finished ones, best first.

    Returns:
        All trials of the study, the best one first.

    Raises:
        UsageError: if a name is unknown, or the folder holds the study of another space, problem or seeds; before
            anything is trained.
        RunError: if the folder or the storage cannot be used. A graph whose training fails is a failed trial.
    """
    folder = Path(run)
    space = space or Space(tuple(problem.partners))
    problem.check(space)
    if trials < 1 or not seeds:
        raise UsageError(f"a search needs a trial and a seed at least, got {trials} trials and seeds {list(seeds)}")
    asked = {"space": space.to_data(), "problem": problem.to_data(), "seeds": list(seeds)}
    asked = json.loads(json.dumps(asked))  # as it will be read again
    prunable = first_prunable(space, problem.epochs)
    study = open_study(folder, storage, asked, sampler, pruner, sampler_seed, prunable)
    chance = random.Random(sampler_seed)
    worker = Worker(study, problem, space, asked, folder, trials, tuple(seeds), prunable, lease, tuple(first), chance)
    from optuna.exceptions import OptunaError

    about = {"sampler": sampler, "pruner": pruner, "prunable": prunable, "combinations": space.size, **asked}
    try:
        while (drawn := worker.draw()) != "done":
            if drawn == "wait":
                time.sleep(POLL)
            elif drawn != "again" and worker.carry_out(*drawn) and on_trial is not None:
                done = finished(study)
                on_trial(next(trial for trial in done if trial.number == drawn[0].number), done)
    except OptunaError as error:
        raise RunError(f"the study of {folder} cannot be used any more: {' '.join(str(error).split())}") from error
    finally:
        found = finished(study)
        write_json(folder / "search.json", _summary(folder.name, about, study, found))
    return found


def finished(study: Any) -> list[Trial]:
    """The graphs that a study has trained, the best one first, those without a value last."""
    done = [_trial(each) for each in study.get_trials(deepcopy=False) if counts(each) and each.state.is_finished()]
    order = {"complete": 0, "pruned": 1, "failed": 2}
    return sorted(done, key=lambda trial: (order[trial.state], -(trial.value or 0.0), trial.number))


def _trial(stored: Any) -> Trial:
    attributes = stored.user_attrs
    return Trial(
        stored.number,
        Candidate.from_data(attributes["candidate"]),
        attributes["graph"],
        "failed" if "error" in attributes else "pruned" if stored.state.name == "PRUNED" else "complete",
        stored.value,
        attributes.get("seconds", 0.0),
        attributes.get("error", ""),
    )


def _summary(name: str, about: dict[str, Any], study: Any, found: list[Trial]) -> dict[str, Any]:
    skipped = [each.user_attrs["skipped"] for each in study.get_trials(deepcopy=False) if "skipped" in each.user_attrs]
    return {
        "schema": SCHEMA,
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": sum(trial.seconds for trial in found),
        **about,
        "skipped": {why: skipped.count(why) for why in sorted(set(skipped))},
        "trials": [
            {**asdict(trial), "candidate": trial.candidate.to_data(), "opens_at": trial.candidate.opens_at}
            for trial in found
        ],
    }
