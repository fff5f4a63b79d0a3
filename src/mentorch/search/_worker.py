"""One process of a search.

All that is decided about a study is decided under a lock that the processes of a folder share. Machines that share
only a database decide side by side: there each one writes what it claims, then looks, and the lower number wins.
"""

import functools
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mentorch._errors import MentorchError, RunError
from mentorch._files import read_sealed, write_sealed
from mentorch.comparison import describe_graph
from mentorch.search import _lease
from mentorch.search._candidate import TARGET, Candidate
from mentorch.search._lock import held
from mentorch.search._problem import Problem
from mentorch.search._space import Space
from mentorch.search._study import quiet
from mentorch.training import History, On, Training

RESULT = "mentorch.trial/1"
_AGAIN = 10  # proposals in a row that are known, until one is drawn at random
_HOPELESS = 3  # graphs that fail before any other result
_DRAWS = 500  # random draws in a row that are known, until the space counts as exhausted


def counts(trial: Any) -> bool:
    """Whether an entry of a study stands for a graph that is, was or will certainly be trained."""
    state, attributes = trial.state.name, trial.user_attrs
    if state == "WAITING":
        return "retry_of" in attributes
    return "skipped" not in attributes and (state != "FAIL" or "error" in attributes)


@dataclass
class Worker:
    """One process of a search: draws trials and carries them out."""

    study: Any
    problem: Problem
    space: Space
    asked: dict[str, Any]
    folder: Path
    trials: int
    seeds: tuple[int, ...]
    prunable: int
    lease: float
    first: tuple[Candidate, ...]
    chance: random.Random
    repeated: int = field(default=0, init=False)

    def draw(self) -> tuple[Any, Candidate] | Literal["done", "wait", "again"]:
        """A trial to work on; or that all are done, that others are at the last ones, or that this draw was nothing."""
        with held(self.folder / ".study.lock"):
            _lease.reap(self.study, self.lease)
            seen = self.study.get_trials(deepcopy=False)
            taken = [trial for trial in seen if counts(trial)]
            states = [trial.state.name for trial in taken]
            if len(states) >= _HOPELESS and set(states) == {"FAIL"}:
                raise RunError(f"all of the first {len(states)} graphs failed: {taken[-1].user_attrs['error']}")
            full = len(states) - states.count("WAITING") >= self.trials
            if full or (not states.count("WAITING") and not self._propose(seen)):
                return "wait" if "RUNNING" in states else "done"
            with quiet():
                trial = self.study.ask()
                chosen = {
                    name: trial.suggest_categorical(name, values) if len(values) > 1 else values[0]
                    for name, values in self.space.choices.items()
                }
            return self._claim(trial, self.space.candidate(chosen).canonical())

    def _propose(self, seen: list[Any]) -> bool:
        """Whether there is something to draw; queued where it is not the sampler's turn."""
        before = {trial.user_attrs.get("graph") for trial in seen}
        for candidate in self.first:
            if candidate.digest not in before:
                self.study.enqueue_trial(self.space.chosen(candidate))
                return True
        if self.repeated < _AGAIN:
            return True
        for _ in range(_DRAWS):
            candidate = self.space.random(self.chance)
            if candidate.valid and candidate.digest not in before:
                self.study.enqueue_trial(self.space.chosen(candidate))
                return True
        return False

    def _claim(self, trial: Any, candidate: Candidate) -> tuple[Any, Candidate] | Literal["again"]:
        """The trial, if nobody has this graph or had it."""
        trial.set_user_attr("worker", _lease.signature())
        trial.set_user_attr("candidate", candidate.to_data())
        trial.set_user_attr("graph", candidate.digest)
        earlier = [other for other in self.study.get_trials(deepcopy=False) if counts(other)]
        earlier = [other for other in earlier if other.number < trial.number]
        twin = next((other for other in earlier if other.user_attrs.get("graph") == candidate.digest), None)
        if not candidate.valid:
            return self._skip(trial, "the target learns from nobody", "PRUNED")
        if twin is not None:
            self.repeated += 1
            return self._repeat(trial, twin)
        if len(earlier) >= self.trials and "retry_of" not in trial.user_attrs:
            return self._skip(trial, "more than asked for", "FAIL")
        self.repeated = 0
        return trial, candidate

    def _repeat(self, trial: Any, twin: Any) -> Literal["again"]:
        """Tell the sampler of a graph what it was worth when it was trained."""
        if twin.state.name == "COMPLETE":
            return self._skip(trial, "the same graph", "COMPLETE", twin.value)
        if twin.state.name == "PRUNED":
            trial.report(twin.value, twin.last_step)
            return self._skip(trial, "the same graph", "PRUNED")
        return self._skip(trial, "the same graph", "FAIL")  # in work somewhere, or it fails

    def _skip(self, trial: Any, why: str, state: str, value: float | None = None) -> Literal["again"]:
        from optuna.trial import TrialState

        trial.set_user_attr("skipped", why)
        self.study.tell(trial, value, state=TrialState[state])
        return "again"

    def carry_out(self, trial: Any, candidate: Candidate) -> bool:
        """Train a graph; whether the result counts, which it does not if others took the trial for dead."""
        from optuna import TrialPruned
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        tell = functools.partial(self.study.tell, trial, skip_if_finished=True)
        place = self.folder / "trials" / candidate.digest
        try:
            with _lease.beating(trial, self.lease), held(place / ".lock"):
                result = self._result(trial, candidate, place)
            trial.set_user_attr("seconds", result["seconds"])
            told = tell(result["value"])
        except TrialPruned:
            told = tell(state=TrialState.PRUNED)
        except UpdateFinishedTrialError:
            return False
        except MentorchError as error:
            if isinstance(error.__cause__, OSError):  # no fault of the graph
                _lease.give_back(self.study, trial.number)
                raise
            trial.set_user_attr("error", str(error))
            told = tell(state=TrialState.FAIL)
        except BaseException:
            _lease.give_back(self.study, trial.number)
            raise
        return counts(told)

    def _result(self, trial: Any, candidate: Candidate, place: Path) -> dict[str, Any]:
        """What a graph is worth; read, if its training ended before its worker did."""
        if (place / "result.json").exists():
            found: dict[str, Any] = read_sealed(place / "result.json")
            if found.get("asked") != self.asked:
                raise RunError(f"{place} is of another search: choose another folder, or delete this one")
            return found
        began = time.perf_counter()
        histories: list[History] = []
        for seed in self.seeds:
            graph = self.problem.draw(candidate, self.space, seed, self.folder)
            report = _Report(trial, self.problem.epochs if histories else self.prunable, self.problem.epochs)
            callbacks = [] if histories else [On("epoch", report)]
            histories.append(self.problem.carry_out(graph, seed, place / f"seed-{seed}", callbacks))
            if len(histories) == 1:
                report.rest(histories[0])
        values = [_accuracy(history.records[-1]) for history in histories]
        result = {
            "schema": RESULT,
            "asked": self.asked,
            "number": trial.number,
            "hash": candidate.digest,
            "candidate": candidate.to_data(),
            "graph": describe_graph(graph),
            "value": sum(values) / len(values),
            "values": values,
            "seeds": list(self.seeds),
            "epochs": self.problem.epochs,
            "seconds": sum(history.records[-1]["seconds"] for history in histories),
            "wall": time.perf_counter() - began,
            "curves": [_curves(history) for history in histories],
        }
        write_sealed(place / "result.json", result)
        for seed in self.seeds:
            shutil.rmtree(place / f"seed-{seed}" / "checkpoints", ignore_errors=True)
        return result


@dataclass
class _Report:
    """Tells a study of each epoch, and asks whether to go on once that may be asked."""

    trial: Any
    prunable: int
    epochs: int
    told: int = 0

    def __call__(self, training: Training) -> None:
        from optuna import TrialPruned

        self.rest(training.history)
        if self.prunable <= self.told < self.epochs and self.trial.should_prune():
            self.trial.set_user_attr("seconds", training.history.records[-1]["seconds"])
            raise TrialPruned

    def rest(self, history: History) -> None:
        """Tell of all epochs that were not told of yet, also of those before a resume."""
        for record in history.records[self.told :]:
            self.trial.report(_accuracy(record), record["epoch"])
        self.told = len(history.records)


def _accuracy(record: dict[str, Any]) -> float:
    value: float = record["validation"][TARGET]["accuracy"]
    return value


def _curves(history: History) -> dict[str, dict[str, list[float]]]:
    """Node -> metric -> value per epoch."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in history.records:
        for node, metrics in record["validation"].items():
            for name, value in metrics.items():
                found.setdefault(node, {}).setdefault(name, []).append(value)
    return found
