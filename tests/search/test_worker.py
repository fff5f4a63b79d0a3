import random
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mentorch import RunError
from mentorch._files import read_sealed, write_sealed
from mentorch.search import Candidate, Space
from mentorch.search._worker import Worker, _Report, counts

CUT, ON = "cutoff", "through"
SPACE = Space(("narrow",), 2, (ON, CUT))  # 9 graphs: the target alone, and 8 with a partner
ALONE, TAUGHT = Candidate((), ((ON,),)), Candidate(("narrow",), ((ON, ON), (ON, ON)))
ASKED = {"problem": "toy"}


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))


@pytest.fixture
def worker(study: optuna.Study, run: Path):
    """``worker(problem, **changed)``: one of those that share the study."""

    def make(problem: object = None, **changed: object) -> Worker:
        options = {"trials": 20, "seeds": (0,), "prunable": 1, "lease": 60.0, "first": ()}
        return Worker(study, problem, SPACE, ASKED, run, **{**options, **changed}, chance=random.Random(0))

    return make


def ask(study: optuna.Study, candidate: Candidate, **attributes: object) -> optuna.Trial:
    """What another worker would draw next."""
    study.enqueue_trial(SPACE.chosen(candidate), user_attrs=attributes)
    trial = study.ask()
    for name, values in SPACE.choices.items():
        if len(values) > 1:
            trial.suggest_categorical(name, values)
    return trial


def failing(error: BaseException) -> SimpleNamespace:
    """A problem of which no graph can be drawn."""

    def draw(*_: object) -> None:
        raise error

    return SimpleNamespace(epochs=2, draw=draw)


@pytest.mark.parametrize(
    ("state", "attributes", "counted"),
    [
        ("RUNNING", {}, True),
        ("COMPLETE", {}, True),
        ("PRUNED", {}, True),
        ("FAIL", {"error": "NaN"}, True),
        ("FAIL", {}, False),  # given up by a dead worker, and queued again
        ("WAITING", {}, False),  # a proposal that may be known already
        ("WAITING", {"retry_of": 3}, True),
        *((state, {"skipped": "the same graph"}, False) for state in ("COMPLETE", "PRUNED", "FAIL")),
    ],
)
def test_what_counts_is_was_or_will_be_trained(state: str, attributes: dict, counted: bool) -> None:
    trial = create_trial(state=TrialState[state], value=0.5 if state == "COMPLETE" else None, user_attrs=attributes)
    assert counts(trial) is counted


def test_graphs_to_begin_with_are_drawn_in_order_then_others_never_twice_until_there_are_no_more(worker) -> None:
    own, drawn = worker(first=(TAUGHT, ALONE), trials=100), []
    while (found := own.draw()) not in ("done", "wait"):
        if found != "again":
            trial, candidate = found
            drawn.append(candidate)
            own.study.tell(trial, 0.5)
    assert found == "done"
    assert drawn[:2] == [TAUGHT.canonical(), ALONE.canonical()]
    assert len(drawn) == len({candidate.digest for candidate in drawn}) == 9


def test_a_worker_waits_for_the_last_trials_of_others(worker) -> None:
    one, other = worker(trials=1), worker(trials=1)
    trial, _ = one.draw() if (found := one.draw()) == "again" else found
    assert other.draw() == "wait"
    one.study.tell(trial, 0.5)
    assert other.draw() == one.draw() == "done"


@pytest.mark.parametrize(("state", "value"), [("COMPLETE", 0.25), ("PRUNED", 0.25), ("FAIL", None), ("RUNNING", None)])
def test_a_graph_that_others_have_is_told_what_it_was_worth(worker, state: str, value: float | None) -> None:
    own = worker()
    trial, candidate = own._claim(ask(own.study, TAUGHT), TAUGHT.canonical())
    if state == "PRUNED":
        trial.report(value, 3)
    if state == "FAIL":
        trial.set_user_attr("error", "NaN")
    if state != "RUNNING":
        own.study.tell(trial, value if state == "COMPLETE" else None, state=TrialState[state])
    assert own._claim(ask(own.study, TAUGHT), candidate) == "again"
    twin = own.study.trials[1]
    assert (twin.user_attrs["skipped"], twin.value) == ("the same graph", value)
    assert twin.state.name == ("FAIL" if state == "RUNNING" else state)
    assert not counts(twin)
    assert own.repeated == 1


def test_of_two_that_claim_one_graph_side_by_side_the_lower_number_wins(worker) -> None:
    own = worker()
    first, second = (ask(own.study, TAUGHT) for _ in range(2))
    for trial in (second, first):  # both have written what they claim before one of them looks
        trial.set_user_attr("graph", TAUGHT.canonical().digest)
    assert own._claim(first, TAUGHT.canonical()) == (first, TAUGHT.canonical())
    assert own._claim(second, TAUGHT.canonical()) == "again"


def test_of_two_that_claim_the_last_place_the_lower_number_wins_and_a_retry_has_its_place(worker) -> None:
    own = worker(trials=1)
    first, second = ask(own.study, TAUGHT), ask(own.study, ALONE)
    assert own._claim(first, TAUGHT.canonical()) == (first, TAUGHT.canonical())
    assert own._claim(second, ALONE.canonical()) == "again"
    assert own.study.trials[1].user_attrs["skipped"] == "more than asked for"
    again = ask(own.study, ALONE, retry_of=1)
    assert own._claim(again, ALONE.canonical()) == (again, ALONE.canonical())


def test_a_graph_whose_target_learns_from_nobody_is_no_trial(worker) -> None:
    own, idle = worker(), Candidate(("narrow",), ((CUT, CUT), (ON, ON)))
    assert not idle.valid
    assert own._claim(ask(own.study, idle), idle) == "again"
    assert own.study.trials[0].state is TrialState.PRUNED
    assert own.study.trials[0].user_attrs["skipped"] == "the target learns from nobody"


def test_after_many_known_graphs_one_is_drawn_at_random(worker) -> None:
    own = worker()
    own.repeated = 10
    assert own._propose([])
    (queued,) = own.study.trials
    drawn = SPACE.candidate(queued.system_attrs["fixed_params"])
    assert drawn.valid
    known = [SimpleNamespace(user_attrs={"graph": drawn.canonical().digest})]
    assert own._propose(known)
    assert SPACE.candidate(own.study.trials[1].system_attrs["fixed_params"]).canonical() != drawn.canonical()


# carrying out


def test_a_result_is_written_once_and_then_read(worker, study: optuna.Study, toy, run: Path) -> None:
    own = worker(toy(), seeds=(0, 1))
    trial, candidate = own._claim(ask(study, TAUGHT), TAUGHT.canonical())
    assert own.carry_out(trial, candidate)
    found = read_sealed(run / "trials" / candidate.digest / "result.json")
    assert found["asked"] == ASKED
    assert len(found["values"]) == len(found["curves"]) == 2
    assert study.trials[0].value == found["value"] == sum(found["values"]) / 2
    assert study.trials[0].user_attrs["seconds"] == found["seconds"]
    assert list(study.trials[0].intermediate_values) == [1, 2]  # of the first seed
    own.problem = failing(AssertionError("trained again"))
    again = ask(study, TAUGHT)
    assert own.carry_out(again, candidate)
    assert study.trials[1].value == found["value"]


def test_the_result_of_another_search_is_an_error_of_the_trial(worker, study: optuna.Study, run: Path) -> None:
    own = worker(failing(AssertionError("trained")))
    write_sealed(run / "trials" / TAUGHT.digest / "result.json", {"asked": "else", "value": 1.0})
    assert own.carry_out(ask(study, TAUGHT), TAUGHT)
    assert study.trials[0].state is TrialState.FAIL
    assert (
        study.trials[0].user_attrs["error"].endswith("is of another search: choose another folder, or delete this one")
    )


def test_a_graph_that_fails_counts_and_is_not_queued_again(worker, study: optuna.Study) -> None:
    assert worker(failing(RunError("the loss became NaN"))).carry_out(ask(study, TAUGHT), TAUGHT)
    (trial,) = study.trials
    assert (trial.state, trial.user_attrs["error"]) == (TrialState.FAIL, "the loss became NaN")


def full_disk() -> RunError:
    error = RunError("cannot write result.json")
    error.__cause__ = OSError(28, "No space left on device")
    return error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), full_disk()], ids=lambda e: type(e).__name__)
def test_what_is_no_fault_of_the_graph_queues_it_again_and_goes_on_up(worker, study, error: BaseException) -> None:
    trial, candidate = worker()._claim(ask(study, TAUGHT), TAUGHT.canonical())
    with pytest.raises(type(error)):
        worker(failing(error)).carry_out(trial, candidate)
    lost, queued = study.trials
    assert (lost.state, counts(lost)) == (TrialState.FAIL, False)
    assert (queued.state, queued.user_attrs) == (TrialState.WAITING, {"retry_of": 0})
    _, drawn = worker().draw()
    assert drawn == candidate


def test_a_result_that_others_no_longer_wait_for_does_not_count(worker, study: optuna.Study, toy) -> None:
    trial = ask(study, TAUGHT)
    study.tell(trial.number, state=TrialState.FAIL)  # taken for dead
    assert not worker(toy()).carry_out(trial, TAUGHT.canonical())
    assert study.trials[0].state is TrialState.FAIL
    assert "error" not in study.trials[0].user_attrs


@pytest.mark.parametrize(("prunable", "asked"), [(1, [1, 2, 3]), (3, [3]), (4, [])])
def test_whether_to_go_on_is_asked_once_that_may_be_and_not_at_the_end(prunable: int, asked: list[int]) -> None:
    told, questions = [], []

    class Study:
        def report(self, value: float, step: int) -> None:
            told.append((step, value))

        def should_prune(self) -> bool:
            questions.append(told[-1][0])
            return False

    report, records = _Report(Study(), prunable, 4), []
    for epoch in (1, 2, 3, 4):
        records.append({"epoch": epoch, "validation": {"target": {"accuracy": epoch / 10}}})
        report(SimpleNamespace(history=SimpleNamespace(records=records)))
    assert told == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert questions == asked


def test_epochs_before_a_resume_are_told_too_and_the_worse_half_is_given_up() -> None:
    trial = optuna.create_study().ask()
    trial.should_prune = lambda: True
    records = [{"epoch": e, "seconds": 7.0 * e, "validation": {"target": {"accuracy": 0.5}}} for e in (1, 2, 3)]
    with pytest.raises(optuna.TrialPruned):
        _Report(trial, 2, 9)(SimpleNamespace(history=SimpleNamespace(records=records)))
    frozen = trial.study.trials[0]
    assert list(frozen.intermediate_values) == [1, 2, 3]
    assert frozen.user_attrs["seconds"] == 21.0
