import os
import subprocess
import sys
import time
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from mentorch.search import _lease
from mentorch.search._worker import counts


def gone() -> int:
    """The number of a process that is over."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def study_with_a_trial(**attributes) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_categorical("gate", ["a", "b", "c"])
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    return study


def test_a_process_of_this_machine_is_looked_for() -> None:
    me = _lease.signature()
    assert not _lease.dead(me, time.time(), 60)
    assert _lease.dead({**me, "pid": gone()}, time.time(), 60)
    assert _lease.dead({**me, "started": "0"}, time.time(), 60)  # its number was given to another process


def test_a_clock_that_was_set_kills_nobody() -> None:
    me = _lease.signature()
    for seen in (time.time() - 1e8, time.time() + 1e8):
        assert not _lease.dead(me, seen, 60)


def test_a_process_that_only_waits_for_its_parent_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = _lease._started(process.pid)
        assert started is not None
        process.kill()
        worker = {**_lease.signature(), "pid": process.pid, "started": started}
        deadline = time.monotonic() + 10
        while not _lease.dead(worker, time.time(), 60) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.returncode is None  # nobody has asked yet
        assert _lease.dead(worker, time.time(), 60)


def test_a_process_of_another_machine_is_listened_to() -> None:
    other = {"host": "elsewhere", "pid": gone()}
    assert not _lease.dead(other, time.time() - 50, 60)
    assert _lease.dead(other, time.time() - 70, 60)
    assert _lease.dead(None, time.time() - 70, 60)


def test_the_trial_of_a_dead_worker_is_queued_again_with_the_same_choice() -> None:
    study = study_with_a_trial(worker={**_lease.signature(), "pid": gone()}, seen=time.time(), graph="hash")
    assert _lease.reap(study, 60) == [0]
    first, second = study.trials
    assert first.state is TrialState.FAIL
    assert not counts(first)
    assert second.state is TrialState.WAITING
    assert counts(second)
    assert second.user_attrs == {"retry_of": 0}
    again = study.ask()
    assert again.number == 1
    assert again.suggest_categorical("gate", ["a", "b", "c"]) == first.params["gate"]
    assert _lease.reap(study, 60) == []  # this process lives


def test_a_retry_whose_worker_died_before_it_could_claim_it_is_queued_once_more() -> None:
    study = study_with_a_trial(graph="hash")
    _lease.give_back(study, 0)
    study.ask()  # and nothing after it
    _lease.give_back(study, 1)
    assert study.trials[2].user_attrs == {"retry_of": 1}
    assert study.trials[2].system_attrs["fixed_params"] == study.trials[0].params


def test_a_trial_that_never_had_a_graph_is_only_given_up() -> None:
    study = study_with_a_trial(worker={**_lease.signature(), "pid": gone()})
    _lease.reap(study, 60)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


def test_whoever_dies_between_the_two_steps_leaves_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with_a_trial(graph="hash")
    with monkeypatch.context() as patched:
        patched.setattr(study, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _lease.give_back(study, 0)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.WAITING]
    _lease.give_back(study, 0)  # the next one does the rest, and queues nothing twice
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_worker_says_that_it_lives_until_nobody_listens() -> None:
    said = []

    def note(name: str, value: float) -> None:
        said.append(value)
        if len(said) == 3:
            raise optuna.exceptions.UpdateFinishedTrialError

    with _lease.beating(SimpleNamespace(set_user_attr=note), 0.04):
        deadline = time.monotonic() + 10
        while len(said) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
    assert len(said) == 3
    assert said == sorted(said)


def test_processes_are_known_by_machine_and_number() -> None:
    assert _lease.signature()["pid"] == os.getpid()
    assert _lease.signature()["host"]
