from pathlib import Path

import optuna
import pytest

from mentorch import RunError, UsageError
from mentorch.search import PAPER, Space
from mentorch.search._study import first_prunable, load_study, open_study

ASKED = {"space": {"nodes": 3}, "problem": {"epochs": 10, "data": "abc"}, "seeds": [0]}


def opened(run: Path, **changed):
    options = {"storage": None, "asked": ASKED, "sampler": "tpe", "pruner": "none", "seed": 0, "first": 6}
    return open_study(run, **{**options, **changed})


@pytest.mark.parametrize("storage", [None, "{}/other.journal", "{}/study.db", "sqlite:///{}/url.sqlite"])
def test_a_study_is_found_again_where_it_was_kept(run: Path, storage: str | None) -> None:
    place = storage and storage.format(run)
    study = opened(run, storage=place)
    trial = study.ask()
    study.tell(trial, 0.5)
    assert opened(run, storage=place).trials[0].value == 0.5
    assert load_study(run, place).best_value == 0.5


def test_a_folder_may_be_moved_and_a_database_holds_many_studies(run: Path) -> None:
    study = opened(run)
    study.tell(study.ask(), 0.5)
    moved = run.rename(run.with_name("moved"))
    assert load_study(moved).best_value == 0.5
    url = f"sqlite:///{moved}/many.db"
    assert opened(moved, storage=url).study_name != opened(run, storage=url).study_name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"nodes": 4}}, "space.nodes is 3 there and 4 here"),
        ({"problem": {"epochs": 10, "data": "xyz"}}, "problem.data is 'abc' there and 'xyz' here"),
        ({"seeds": [0, 1]}, r"seeds is \[0\] there and \[0, 1\] here"),
        ({"space": {"nodes": 3, "more": 1}}, "space.more is None there and 1 here"),
    ],
)
def test_a_study_of_something_else_is_refused(run: Path, changed: dict, message: str) -> None:
    opened(run)
    with pytest.raises(UsageError, match=f"study of another problem or space: {message}"):
        opened(run, asked={**ASKED, **changed})


def test_those_who_join_draw_otherwise(run: Path) -> None:
    first, second = opened(run, sampler="random"), opened(run, sampler="random")
    drawn = [[study.ask().suggest_categorical("x", list(range(1000))) for _ in range(3)] for study in (first, second)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"sampler": "tpee"}, "unknown sampler 'tpee': did you mean 'tpe'"),
        ({"pruner": "asher"}, "unknown pruner 'asher'"),
        ({"storage": "study.txt"}, r"storage is a URL, or a path that ends in .journal, .db or .sqlite"),
    ],
)
def test_unknown_options_are_named(run: Path, option: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened(run, **option)


def test_a_storage_that_cannot_be_opened_is_named(run: Path) -> None:
    with pytest.raises(RunError, match="cannot open the study of"):
        opened(run, storage="nosuchdatabase://nowhere")
    with pytest.raises(RunError, match="there is no study of"):
        load_study(run)


@pytest.mark.parametrize(
    ("gates", "epochs", "first"), [(PAPER, 10, 6), (PAPER, 200, 120), (PAPER, 1, 1), (("through",), 200, 20)]
)
def test_nothing_is_given_up_before_all_gates_have_opened(gates: tuple[str, ...], epochs: int, first: int) -> None:
    assert first_prunable(Space(("x",), gates=gates), epochs) == first


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_the_worse_is_given_up_at_the_first_allowed_epoch(run: Path, pruner: str) -> None:
    study = opened(run, pruner=pruner)
    pruned = {}
    for value in (0.9, 0.8, 0.1):
        trial = study.ask()
        for epoch in range(1, 11):
            trial.report(value, epoch)
            if trial.should_prune():
                pruned[value] = epoch
                break
        study.tell(
            trial, None if value in pruned else value, state=optuna.trial.TrialState.PRUNED if value in pruned else None
        )
    assert pruned == {0.8: 6, 0.1: 6}
