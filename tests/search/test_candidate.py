import itertools
import json
import random
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch import UsageError
from mentorch.gates import Between, Constant, Cosine, Linear, PerEpoch, Steps, Warmup
from mentorch.methods import GATES, to_matrix
from mentorch.search import PAPER, Candidate, opens_at
from mentorch.search._candidate import gate_of, label

ARCHITECTURES = ("x", "y", "z")


def draw(seed: int, nodes: int, gates: tuple[str, ...] = PAPER) -> Candidate:
    chance = random.Random(seed)
    rows = tuple(tuple(chance.choice(gates) for _ in range(nodes)) for _ in range(nodes))
    return Candidate(tuple(chance.choice(ARCHITECTURES) for _ in range(nodes - 1)), rows)


def permuted(candidate: Candidate, order: tuple[int, ...]) -> Candidate:
    """The same graph with its partners in another order."""
    places = (0, *(i + 1 for i in order))
    rows = tuple(tuple(candidate.gates[i][j] for j in places) for i in places)
    return Candidate(tuple(candidate.partners[i] for i in order), rows)


@given(st.integers(0, 10**6), st.integers(2, 5), st.randoms())
def test_all_orders_of_the_partners_are_one_graph(seed: int, nodes: int, chance: random.Random) -> None:
    candidate = draw(seed, nodes)
    order = list(range(nodes - 1))
    chance.shuffle(order)
    other = permuted(candidate, tuple(order))
    assert other.canonical() == candidate.canonical()
    assert other.digest == candidate.digest


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_the_canonical_form_is_its_own(seed: int, nodes: int) -> None:
    canonical = draw(seed, nodes).canonical()
    assert canonical.canonical() == canonical
    assert canonical.digest == draw(seed, nodes).digest


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_the_target_learns_the_same_in_the_canonical_form(seed: int, nodes: int) -> None:
    """Losses of the target's own edges, and of all its ancestors', do not change."""
    candidate = draw(seed, nodes)
    if not candidate.valid:
        return
    torch.manual_seed(seed)
    weights = {name: nn.Linear(4, 3) for name in candidate.names}
    canonical = candidate.canonical()
    # the partners of the canonical form among the original ones: by trying all ways to choose and order them
    ways = itertools.permutations(range(1, nodes), len(canonical.partners))
    rewritten = [
        ["through" if i == j and g == "correct" else g for j, g in enumerate(r)] for i, r in enumerate(candidate.gates)
    ]
    way = next(
        way
        for way in ways
        if tuple(candidate.partners[i - 1] for i in way) == canonical.partners
        and all(
            rewritten[i][j] == canonical.gates[a][b] for a, i in enumerate((0, *way)) for b, j in enumerate((0, *way))
        )
    )
    original = [candidate.names[i] for i in (0, *way)]
    inputs, labels = torch.randn(5, 4), torch.randint(0, 3, (5,))
    copies = {name: weights[name] for name in candidate.names}
    before = candidate.draw(copies, kd_plain)(inputs, labels=labels, progress=0.4)
    target = sum(value.item() for key, value in before.items() if "-> target:" in key)
    small = {new: weights[old] for new, old in zip(canonical.names, original, strict=True)}
    after = canonical.draw(small, kd_plain)(inputs, labels=labels, progress=0.4)
    assert sum(v.item() for key, v in after.items() if "-> target:" in key) == pytest.approx(target, rel=1e-5, abs=1e-6)


def kd_plain(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return (student - teacher).square().mean(1)


def test_other_graphs_have_other_hashes() -> None:
    rows = [tuple(row) for row in itertools.product(("through", "cutoff"), repeat=2)]
    found = {Candidate(("x",), pair).digest for pair in itertools.product(rows, rows)}
    # x does not reach the target in 8 of 16, of which 4 in two ways are the same: alone with labels, or invalid
    assert len(found) == 8 + 2
    assert Candidate(("x",), (("through",) * 2,) * 2).digest != Candidate(("y",), (("through",) * 2,) * 2).digest
    assert Candidate(("x",), (("through",) * 2,) * 2, "dkd").digest != Candidate(("x",), (("through",) * 2,) * 2).digest


def test_without_a_transfer_there_is_no_loss_to_choose() -> None:
    rows = (("through", "cutoff"), ("through", "through"))
    assert Candidate(("x",), rows, "kd", 1.0).digest == Candidate(("y",), rows, "dkd", 4.0).digest


def test_nodes_without_a_path_to_the_target_are_dropped_and_others_are_not() -> None:
    cut, on = "cutoff", "through"
    # partner2 -> partner1 -> target; partner3 learns from all and teaches nobody
    rows = ((on, on, cut, cut), (cut, cut, on, cut), (cut, cut, on, cut), (on, on, on, on))
    assert Candidate(("x", "y", "z"), rows).canonical().partners == ("x", "y")


def test_a_target_that_learns_from_nobody_is_invalid_and_frozen_partners_are_seen() -> None:
    cut, on = "cutoff", "through"
    assert not Candidate(("x",), ((cut, cut), (on, on))).valid
    assert Candidate(("x", "y"), ((cut, on, on), (cut, cut, cut), (cut, on, cut))).frozen == (True, False)


@pytest.mark.parametrize(
    ("gate", "at"),
    [
        (1.0, 0.0),
        (0.3, 0.0),
        (0.0, None),
        (Constant(0.0), None),
        (Linear(0.0, 1.0), 0.5),
        (Linear(1.0, 0.0), 0.0),
        (Cosine(0.0, 1.0), 0.5),
        (Between(0.25, 0.5), 0.25),
        (Warmup(0.4), 0.2),
        (Steps((0.5,), factor=4.0), 0.5),
        (Linear(0.0, -2.0), 0.5),
        (PerEpoch(5), 0.4),  # 0, 1/4, 1/2 from 2/5 on
    ],
)
def test_a_gate_opens_where_it_has_half_of_its_weight(gate, at: float | None) -> None:
    assert opens_at(gate) == (None if at is None else pytest.approx(at, abs=1e-3))


def test_a_graph_opens_with_its_last_gate_that_matters() -> None:
    cut, on, late = "cutoff", "through", "linear_up"
    assert Candidate(("x",), ((on, on), (cut, cut))).opens_at == 0.0
    assert Candidate(("x",), ((on, late), (cut, cut))).opens_at == 0.5
    assert Candidate(("x",), ((on, on), (late, cut))).opens_at == 0.5  # an ancestor's
    assert Candidate(("x",), ((on, cut), (late, late))).opens_at == 0.0  # of a node that teaches nobody


@pytest.mark.parametrize("name", sorted(GATES))
def test_published_gates_keep_their_names(name: str) -> None:
    assert label(name) == name
    if name != "correct":
        assert label(GATES[name]) == name


@pytest.mark.parametrize("gate", [0.25, Cosine(0.0, 1.0), Warmup(0.5, Linear(0.0, 2.0)), PerEpoch(4)])
def test_other_gates_are_called_by_their_written_form(gate) -> None:
    assert gate_of(label(gate)) == gate
    assert label(label(gate)) == label(gate)


@pytest.mark.parametrize(("entry", "same"), [("1", "through"), ("linear", "linear_up"), (Constant(0.0), "cutoff")])
def test_gates_that_are_the_same_have_one_name(entry, same: str) -> None:
    assert label(entry) == same


@pytest.mark.parametrize("name", ["thru", "", "-", "{", "1.5."])
def test_an_unknown_gate_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown gate '{re.escape(name)}'"):
        label(name)


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_data_read_back_is_the_same(seed: int, nodes: int) -> None:
    candidate = draw(seed, nodes, (*PAPER, label(Cosine(0.0, 1.0))))
    assert Candidate.from_data(json.loads(json.dumps(candidate.to_data()))) == candidate


def test_a_drawn_candidate_has_rows_of_receivers() -> None:
    candidate = Candidate(("x",), (("through", label(Cosine(0.0, 2.0))), ("linear_down", "cutoff")))
    graph = candidate.draw({name: nn.Linear(4, 3) for name in candidate.names}, kd_plain)
    assert [(edge.sources[0], edge.target, edge.gate) for edge in graph.edges] == [
        ("labels", "target", 1.0),
        ("partner1", "target", Cosine(0.0, 2.0)),
        ("target", "partner1", Linear(1.0, 0.0)),
    ]
    assert to_matrix(graph).splitlines()[0].split() == ["learns", "\\", "from", "target", "partner1"]
    assert str(candidate).splitlines()[-1] == "partner1: x, learns"


@pytest.mark.parametrize("gates", [(), (("through",),), (("through", "through"), ("through",))])
def test_a_matrix_of_another_size_is_refused(gates) -> None:
    with pytest.raises(UsageError, match="1 partners need a gate matrix of 2 rows and columns"):
        Candidate(("x",), gates)
