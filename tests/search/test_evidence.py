from pathlib import Path

import pytest

from mentorch import UsageError
from mentorch.search import Candidate, Space, saving, scores, search, trials_until, warm_start

CUT, ON = "cutoff", "through"
KNOWN = {"narrow": 0.6, "wide": 0.9}


def test_the_best_partners_come_first_as_teachers_and_as_peers() -> None:
    space = Space(("narrow", "wide"), 3)
    found = warm_start(space, KNOWN, count=100)
    assert found[0] == Candidate(("wide",), ((ON, ON), (CUT, CUT)))
    partners = list(dict.fromkeys(candidate.partners for candidate in found[1:]))
    assert partners == [("wide", "wide"), ("narrow", "wide"), ("narrow", "narrow")]
    teachers, correct, peers = found[1:4]
    assert teachers.frozen == correct.frozen == (True, True)
    assert correct.gates[0] == (ON, "correct", "correct")
    assert peers.gates == ((ON,) * 3,) * 3
    assert len({candidate.digest for candidate in found}) == len(found) == 10


def test_other_scores_give_another_order() -> None:
    space = Space(("narrow", "wide"), 2)
    assert warm_start(space, KNOWN, 1)[0].partners == ("wide",)
    assert warm_start(space, {name: -value for name, value in KNOWN.items()}, 1)[0].partners == ("narrow",)


def test_what_the_space_does_not_offer_is_left_out() -> None:
    found = warm_start(Space(("wide",), 2, ("through", "cutoff"), temperatures=(4.0,)), {"wide": 1.0}, 100)
    assert [candidate.gates for candidate in found] == [((ON, ON), (CUT, CUT)), ((ON, ON), (ON, ON))]
    assert {candidate.temperature for candidate in found} == {4.0}
    assert warm_start(Space(("wide",), 2, ("linear_up",)), {"wide": 1.0}) == []


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"wide": 1.0}, "says nothing about partner 'narrow'"),
        ({**KNOWN, "wise": 1.0}, "unknown partner in evidence 'wise'"),
    ],
)
def test_scores_are_for_the_partners_of_the_space(known: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        warm_start(Space(("narrow", "wide")), known)


def test_partners_are_scored_by_what_they_can_alone(toy, run: Path) -> None:
    problem = toy(epochs=12)
    found = scores(problem, run)
    assert found.keys() == {"narrow", "wide"}
    assert found["wide"] > 0.6
    agreed = scores(problem, run, "agreement")
    assert all(0 <= value <= 1 for value in agreed.values())
    assert sorted(path.name for path in (run / "partners").iterdir()) == [
        "narrow-seed-0",
        "target-seed-0",
        "wide-seed-0",
    ]
    with pytest.raises(UsageError, match="unknown evidence 'acuracy': did you mean 'accuracy'"):
        scores(problem, run, "acuracy")


def test_a_search_starts_from_evidence(toy, run: Path) -> None:
    space = Space(("narrow", "wide"), 2)
    first = warm_start(space, KNOWN, 2)
    found = search(toy(), run, space=space, trials=2, first=first)
    assert {trial.digest for trial in found} == {candidate.digest for candidate in first}


def test_trials_are_counted_until_one_is_good_enough() -> None:
    assert trials_until([0.1, 0.8, 0.9], 0.8) == 2
    assert trials_until([0.1], 0.8) == 2
    assert trials_until([], 0.8) == 1


def test_what_evidence_saves_is_a_mean_over_pairs_of_searches() -> None:
    informed, plain = [[0.9, 0.5], [0.3, 0.7]], [[0.1, 0.2, 0.895], [0.1, 0.2, 0.3, 0.7]]  # each has its own best
    found = saving(informed, plain, within=0.01)
    assert (found["informed"], found["plain"], found["saved"]) == ([1, 2], [3, 4], 2.0)
    assert found["low"] == found["high"] == 2.0
    assert saving([[0.9]], [[0.9]])["low"] is None
    with pytest.raises(UsageError, match="as many informed searches as plain ones are compared, got 1 and 0"):
        saving([[1.0]], [])
