import itertools
import random
from functools import partial

import numpy as np
import pytest

from mentorch import UsageError, losses
from mentorch.gates import Cosine, Linear
from mentorch.search import FORK, PAPER, Candidate, Space

THROUGH, CUT, UP, CORRECT = range(4)


def graphs(gates: tuple[int, ...], architectures: int) -> tuple[np.ndarray, np.ndarray]:
    """All graphs of three nodes: partners ``[M, 2]`` and gates ``[M, 3, 3]``."""
    columns = np.meshgrid(*[np.array(gates, dtype=np.int8)] * 9, *[np.arange(architectures, dtype=np.int8)] * 2)
    flat = np.stack([column.ravel() for column in columns], axis=1)
    return flat[:, 9:], flat[:, :9].reshape(-1, 3, 3)


def codes(partners: np.ndarray, gates: np.ndarray) -> np.ndarray:
    """One number per graph, the smaller one of its two orders of partners."""
    found = []
    for order in ((0, 1, 2), (0, 2, 1)):
        columns = [gates[:, i, j] for i in order for j in order] + [partners[:, i - 1] for i in order[1:]]
        code = np.zeros(len(gates), dtype=np.int64)
        for column in columns:
            code <<= 3
            code |= column
        found.append(code)
    return np.minimum(*found)


def reduced(partners: np.ndarray, gates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The graphs in which the target learns, without what cannot reach it: node 9 stands for nobody."""
    keep = ~(gates[:, 0] == CUT).all(1)
    partners, gates = partners[keep].copy(), gates[keep].copy()
    direct = [gates[:, 0, i] != CUT for i in (1, 2)]
    over = [direct[1] & (gates[:, 2, 1] != CUT), direct[0] & (gates[:, 1, 2] != CUT)]
    for i in (1, 2):
        useless = ~(direct[i - 1] | over[i - 1])
        partners[useless, i - 1] = 7
        gates[useless, i, :] = CUT
        gates[useless, :, i] = CUT
    return partners, gates


def on_labels(gates: np.ndarray) -> np.ndarray:
    found = gates.copy()
    diagonal = np.einsum("kii->ki", found)
    diagonal[diagonal == CORRECT] = THROUGH
    return found


def test_the_space_of_the_paper_has_the_published_sizes() -> None:
    partners, gates = graphs((THROUGH, CUT, UP, CORRECT), 3)
    assert len(gates) == 2_359_296
    assert Space(("x", "y", "z"), labels=PAPER).size == 2_359_296
    assert int((gates[:, 0] == CUT).all(1).sum()) == 36_864
    assert len(np.unique(codes(partners, gates))) == 1_181_184
    same = on_labels(gates)
    assert len(np.unique(codes(partners, same))) == 498_528
    assert len(np.unique(codes(*reduced(partners, same)))) == 420_878


def test_the_canonical_form_merges_what_the_enumeration_merges() -> None:
    """Every graph of a smaller space, against the arithmetic of the test above."""
    names, architectures = {THROUGH: "through", CUT: "cutoff", CORRECT: "correct"}, ("x", "y")
    partners, gates = graphs((THROUGH, CUT, CORRECT), 2)
    keep = ~(gates[:, 0] == CUT).all(1)
    expected = codes(*reduced(partners, on_labels(gates)))
    classes: dict[int, Candidate] = {}
    members: dict[Candidate, int] = {}
    step = 3  # a third of them, taken evenly
    for code, people, rows in list(zip(expected, partners[keep].tolist(), gates[keep].tolist(), strict=True))[::step]:
        candidate = Candidate(
            tuple(architectures[i] for i in people), tuple(tuple(names[g] for g in row) for row in rows)
        )
        canonical = candidate.canonical()
        assert candidate.valid
        assert classes.setdefault(code, canonical) == canonical
        assert members.setdefault(canonical, code) == code


@pytest.mark.slow
def test_the_canonical_form_counts_as_published() -> None:
    space = Space(("x", "y", "z"), labels=PAPER)
    found = set()
    for values in itertools.product(*space.choices.values()):
        candidate = space.candidate(dict(zip(space.choices, values, strict=True)))
        if candidate.valid:
            found.add(candidate.canonical())
    assert len(found) == 420_878


@pytest.mark.parametrize(
    "space", [Space(("x",), 2), Space(("x", "y"), 4, FORK), Space(("x",), temperatures=(1.0, 4.0))]
)
def test_choices_and_candidates_are_the_same_thing(space: Space) -> None:
    chance = random.Random(0)
    for _ in range(20):
        candidate = space.random(chance)
        chosen = space.chosen(candidate)
        assert list(chosen) == list(space.choices) or set(chosen) == set(space.choices)
        assert space.candidate(chosen) == candidate


def test_the_names_of_choices_say_who_learns_from_whom() -> None:
    space = Space(("x",), 2)
    chosen = space.chosen(Candidate(("x",), (("through", "linear_up"), ("correct", "cutoff"))))
    assert chosen == {
        "partner1": "x",
        "target from labels": "through",
        "target from partner1": "linear_up",
        "partner1 from target": "correct",
        "partner1 from labels": "cutoff",
        "loss": "kd",
    }


def test_a_smaller_graph_is_in_the_space_with_cut_nodes() -> None:
    space = Space(("x", "y"), 3)
    small = Candidate(("y",), (("through", "correct"), ("cutoff", "cutoff")))
    assert space.candidate(space.chosen(small)).digest == small.digest


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (Candidate(("z",), (("through",) * 2,) * 2), "unknown partner1 'z'"),
        (
            Candidate(("x",), (("through", "linear_down"), ("cutoff",) * 2)),
            "unknown target from partner1 'linear_down'",
        ),
        (Candidate(("x",) * 3, (("through",) * 4,) * 4), "a candidate of 4 nodes is not in a space of 3"),
        (Candidate(("x",), (("through",) * 2,) * 2, "dkd"), "unknown loss 'dkd'"),
    ],
)
def test_a_graph_outside_of_the_space_is_refused(candidate: Candidate, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Space(("x", "y")).chosen(candidate)


def test_labels_are_not_asked_whether_they_are_right() -> None:
    assert Space(("x",)).labels == ("through", "cutoff", "linear_up")
    assert Space(("x",), labels=("through",)).labels == ("through",)


def test_gates_have_one_name_and_are_offered_once() -> None:
    assert Space(("x",), gates=(1.0, "through", Linear(0.0, 1.0), "cutoff", "linear_up")).gates == (
        "through",
        "linear_up",
        "cutoff",
    )


@pytest.mark.parametrize(("gates", "at"), [(PAPER, 0.5), (FORK, 0.5), (("through", "cutoff"), 0.0)])
def test_the_space_opens_with_its_latest_gate(gates: tuple[str, ...], at: float) -> None:
    assert Space(("x",), gates=gates).opens_at == at
    assert Space(("x",), gates=("through",), labels=("through", "linear_up")).opens_at == 0.5


def test_the_temperature_is_bound_to_the_loss() -> None:
    space = Space(
        ("x",), losses={"kd": partial(losses.kd, temperature=1.0), "dkd": losses.dkd}, temperatures=(2.0, 4.0)
    )
    rows = (("through",) * 2,) * 2
    assert space.loss(Candidate(("x",), rows, "kd", 4.0)).keywords == {"temperature": 4.0}
    assert space.loss(Candidate(("x",), rows, "dkd")) is losses.dkd


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space(()), "needs a target and partners"),
        (lambda: Space(("x",), 1), "needs a target and partners: got 1 nodes"),
        (lambda: Space(("x",), gates=("cutoff",)), "gates of a search must offer something that is open"),
        (lambda: Space(("x",), labels=()), "labels of a search must offer something that is open"),
        (lambda: Space(("x",), gates=("thru",)), "unknown gate 'thru'"),
        (lambda: Space(("x",), losses={}), "needs a loss for transfers"),
    ],
)
def test_a_space_without_a_choice_is_refused(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_what_a_study_compares_is_plain_data() -> None:
    data = Space(("x",), gates=("through", Cosine(0.0, 1.0))).to_data()
    assert data["weights"]['{"cosine": {"start": 0.0, "end": 1.0}}'] == {"cosine": {"start": 0.0, "end": 1.0}}
    assert data["losses"] == {"kd": "partial(kd, temperature=1.0)"}
