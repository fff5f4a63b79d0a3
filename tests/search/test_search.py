import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mentorch import RunError, UsageError, fit
from mentorch.search import Candidate, Space, search
from mentorch.search._search import finished
from mentorch.search._study import load_study

from .conftest import dataset

WORKER = Path(__file__).with_name("worker.py")
SMALL = Space(
    ("narrow",), 2, ("through", "cutoff")
)  # 16 combinations, 9 graphs: the target alone, and 8 with a partner
CUT, ON = "cutoff", "through"


class Blind:
    """A data set whose test split does not exist."""

    def __init__(self) -> None:
        whole = dataset()
        self.train, self.validation, self.fingerprint = whole.train, whole.validation, whole.fingerprint


def test_the_objective_is_validation_accuracy_of_the_target_at_the_last_epoch(toy, run: Path) -> None:
    problem = toy(epochs=3, data=Blind())  # no test split: to read it would fail
    found = search(problem, run, space=Space(("narrow", "wide")), trials=4)
    assert len(found) == 4
    assert [trial.value for trial in found] == sorted((trial.value for trial in found), reverse=True)
    for trial in found:
        lines = (run / "trials" / trial.digest / "seed-0" / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert len(records) == 3
        assert trial.value == records[-1]["validation"]["target"]["accuracy"]
        kept = json.loads((run / "trials" / trial.digest / "result.json").read_text())
        assert Candidate.from_data(kept["candidate"]) == trial.candidate
        assert kept["hash"] == trial.digest == trial.candidate.digest
        assert kept["curves"][0]["target"]["accuracy"] == [r["validation"]["target"]["accuracy"] for r in records]
        assert (kept["seeds"], kept["epochs"]) == ([0], 3)
        assert {node["name"] for node in kept["graph"]["nodes"]} == set(trial.candidate.names)
        assert not (run / "trials" / trial.digest / "seed-0" / "checkpoints").exists()


def test_a_small_space_is_searched_to_its_end_and_no_graph_is_trained_twice(toy, run: Path) -> None:
    trained = []

    def counting(graph, *args, **options):
        trained.append(options["run"].parts[-2:])
        return plain(graph, *args, **options)

    plain = toy().fit
    found = search(toy(fit=counting), run, space=SMALL, trials=100)
    assert len(found) == len({trial.digest for trial in found}) == 9
    assert sorted(t for t in trained if t[1] == "seed-0") == sorted((trial.digest, "seed-0") for trial in found)
    summary = json.loads((run / "search.json").read_text())
    assert summary["skipped"]["the same graph"] > 0
    assert summary["skipped"]["the target learns from nobody"] > 0
    assert summary["combinations"] == 16
    study = load_study(run)
    for trial in study.trials:  # the sampler was told of repetitions, with the value of the first
        if trial.user_attrs.get("skipped") == "the same graph":
            first = next(t for t in study.trials if t.user_attrs.get("graph") == trial.user_attrs["graph"])
            assert trial.value == first.value


def test_the_same_seed_finds_the_same(toy, tmp_path: Path) -> None:
    found = [search(toy(), tmp_path / name / "study", trials=3, sampler="random") for name in "ab"]
    assert [(t.digest, t.value) for t in found[0]] == [(t.digest, t.value) for t in found[1]]


def test_a_graph_does_not_depend_on_the_trials_before_it(toy, tmp_path: Path) -> None:
    found = search(toy(), tmp_path / "a" / "study", trials=3)
    again = search(toy(), tmp_path / "b" / "study", trials=1, first=[found[-1].candidate])
    assert again[0].digest == found[-1].digest
    assert again[0].value == found[-1].value


def test_a_search_goes_on_where_it_was(toy, run: Path) -> None:
    first = search(toy(), run, trials=2)
    heard = []
    more = search(toy(), run, trials=4, on_trial=lambda trial, done: heard.append((trial.number, len(done))))
    assert {t.digest for t in first} < {t.digest for t in more}
    assert [count for _, count in heard] == [3, 4]
    assert search(toy(), run, trials=4) == more


def test_several_seeds_count_by_their_mean(toy, run: Path) -> None:
    (trial,) = search(toy(), run, trials=1, seeds=(3, 5))
    kept = json.loads((run / "trials" / trial.digest / "result.json").read_text())
    assert len(kept["values"]) == 2
    assert trial.value == pytest.approx(sum(kept["values"]) / 2)


def test_graphs_to_begin_with_come_first(toy, run: Path) -> None:
    first = [Candidate(("wide",), ((ON, ON), (CUT, CUT))), Candidate((), ((ON,),))]
    found = search(toy(), run, trials=3, first=first)
    order = [trial.digest for trial in sorted(found, key=lambda trial: trial.number)]
    assert order[:2] == [candidate.digest for candidate in first]


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_no_graph_is_given_up_before_late_gates_have_opened(toy, run: Path, pruner: str) -> None:
    found = search(toy(epochs=10), run, trials=8, pruner=pruner, sampler="random")
    pruned = [trial for trial in found if trial.state == "pruned"]
    assert pruned
    for trial in load_study(run).trials:
        if trial.state is TrialState.PRUNED and "skipped" not in trial.user_attrs:
            assert trial.last_step >= 6
    assert found[0].state == "complete"
    assert all(trial.seconds > 0 for trial in pruned)


def test_a_graph_that_fails_is_a_failed_trial_and_is_not_tried_again(toy, run: Path) -> None:
    def sometimes(graph, *args, **options):
        if len(graph.nodes) == 2:
            raise RunError("the loss became NaN")
        return plain(graph, *args, **options)

    plain = toy().fit
    alone, taught = Candidate((), ((ON,),)), Candidate(("narrow",), ((ON, ON), (ON, ON)))
    found = search(toy(fit=sometimes), run, space=SMALL, trials=2, first=[alone, taught])
    assert [(trial.state, trial.error) for trial in found] == [("complete", ""), ("failed", "the loss became NaN")]
    assert found[1].value is None


def test_a_search_in_which_nothing_works_ends(toy, run: Path) -> None:
    def never(*args, **options):
        raise RunError("no luck")

    with pytest.raises(RunError, match="all of the first 3 graphs failed: no luck"):
        search(toy(fit=never), run, trials=50)


def test_an_interrupted_trial_is_tried_again_from_its_checkpoint(toy, run: Path) -> None:
    epochs = []

    def interrupted(graph, *args, callbacks=(), **options):
        from mentorch import On

        stop = On("checkpoint", lambda training: (_ for _ in ()).throw(KeyboardInterrupt))
        return plain(graph, *args, callbacks=(*callbacks, stop), **options)

    def counted(graph, *args, callbacks=(), **options):
        from mentorch import On

        return plain(graph, *args, callbacks=(*callbacks, On("epoch", lambda t: epochs.append(t.epoch))), **options)

    plain = partial(fit, tensorboard=False, device="cpu", progress=False)
    first = [Candidate((), ((ON,),))]
    with pytest.raises(KeyboardInterrupt):
        search(toy(epochs=3, fit=interrupted, about="x"), run, trials=1, first=first)
    (found,) = search(toy(epochs=3, fit=counted, about="x"), run, trials=1, first=first)
    assert epochs == [2, 3]
    study = load_study(run)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert list(study.trials[1].intermediate_values) == [1, 2, 3]
    (whole,) = search(toy(epochs=3), run.parent / "other" / "study", trials=1, first=first)
    assert found.value == whole.value


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"epochs": 3}, {}, "problem.epochs is 2 there and 3 here"),
        ({"data": dataset(1)}, {}, "problem.data is"),
        ({"batch_size": 5}, {}, "problem.batch_size is 10 there and 5 here"),
        ({}, {"space": Space(("narrow",))}, "space.partners is"),
        ({}, {"seeds": (1,)}, "seeds is"),
    ],
)
def test_the_study_of_another_search_is_refused_before_anything_is_trained(
    toy, run: Path, changed: dict, options: dict, message: str
) -> None:
    search(toy(), run, trials=1)

    def never(*args, **options):
        raise AssertionError("trained")

    with pytest.raises(UsageError, match=f"study of another problem or space: {re.escape(message)}"):
        search(toy(**changed), run, trials=2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "needs a trial and a seed at least, got 0 trials"),
        ({"seeds": ()}, "needs a trial and a seed at least"),
        ({"space": Space(("huge",))}, "unknown partner 'huge'"),
        ({"first": [Candidate(("huge",), ((ON, ON), (ON, ON)))]}, "unknown partner1 'huge'"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(toy, run: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search(toy(), run, **options)


@pytest.mark.parametrize("storage", ["", "study.db"])
def test_a_worker_that_is_killed_loses_nothing(run: Path, storage: str) -> None:
    """Two processes, one killed in the middle of a trial: as many trials as asked for, and its graph among them."""
    trials, place = 4, str(run / storage) if storage else ""
    start = [sys.executable, str(WORKER), str(run), place, str(trials)]
    with subprocess.Popen([*start, "hang"], stdout=subprocess.PIPE, text=True) as victim:
        with subprocess.Popen([*start, "work"], stdout=subprocess.PIPE, text=True) as other:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "hanging\n"
            victim.kill()
            said, _ = other.communicate()
        assert other.returncode == 0
    assert said == f"{trials}\n"
    study = load_study(run, place or None)
    done = finished(study)
    assert len(done) == trials
    assert len({trial.digest for trial in done}) == trials
    assert {trial.state for trial in done} == {"complete"}
    (lost,) = [t for t in study.trials if t.state is TrialState.FAIL and "skipped" not in t.user_attrs]
    (again,) = [t for t in study.trials if t.user_attrs.get("retry_of") == lost.number]
    assert again.state is TrialState.COMPLETE
    assert again.user_attrs["graph"] == lost.user_attrs["graph"]
    assert list(again.intermediate_values) == [1, 2, 3]
