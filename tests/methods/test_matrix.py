import copy
import itertools
import re
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, freeze, losses
from mentorch.gates import Cosine, Linear, PerEpoch
from mentorch.methods import GATES, from_matrix, full, to_matrix
from mentorch.methods._presets._matrix import draw

NAMES = ("a", "b", "c")


def networks(seed: int = 0, names: tuple[str, ...] = NAMES) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {name: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double() for name in names}


def batch(seed: int = 0, n: int = 9) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, dtype=torch.float64, generator=draw), torch.randint(0, 4, (n,), generator=draw)


def weight(entry: str | float, progress: float) -> float:
    """The definition of each gate, written once more."""
    if not isinstance(entry, str):
        return float(entry)
    return {
        "through": 1.0,
        "correct": 1.0,
        "cutoff": 0.0,
        "linear_up": progress,
        "linear_down": 1.0 - progress,
    }[entry]


def objective(nodes: dict[str, nn.Module], rows, receiver: int, progress: float) -> Tensor:
    """L_t of the definition for one receiver, sample by sample, from nothing but logits."""
    inputs, labels = batch()
    logits = [node(inputs) for node in nodes.values()]
    own = logits[receiver]
    total = torch.zeros((), dtype=torch.float64)
    for sender, entry in enumerate(rows[receiver]):
        for b, label in enumerate(labels.tolist()):
            log_own = own[b] - own[b].logsumexp(0)
            if sender == receiver:
                value = -log_own[label]
            else:
                other = logits[sender][b].detach()
                log_other = other - other.logsumexp(0)
                value = sum(log_other[k].exp() * (log_other[k] - log_own[k]) for k in range(4))
                if entry == "correct" and int(other.argmax()) != label:
                    continue
            total = total + weight(entry, progress) * value / len(labels)
    return total


def gradients(node: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in node.parameters()]


MATRICES = (
    [["linear_up", "correct", "linear_down"], ["through", "through", "cutoff"], ["correct", 0.3, "linear_down"]],
    [["correct", "through", "correct"], ["cutoff", "linear_up", "linear_up"], ["cutoff", "cutoff", "cutoff"]],
    [["cutoff", "linear_up", "cutoff"], ["linear_down", "cutoff", "correct"], ["through", "cutoff", "cutoff"]],
)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rows", MATRICES, ids=range(len(MATRICES)))
def test_losses_and_gradients_are_those_of_the_published_definition(rows, progress: float) -> None:
    nodes, others = networks(), networks()
    graph = from_matrix(nodes, rows)
    inputs, labels = batch()
    found = graph(inputs, labels=labels, progress=progress)
    expected = [objective(others, rows, i, progress) for i in range(3)]
    assert sum(found.values()).item() == pytest.approx(sum(expected).item(), rel=1e-12)
    sum(found.values()).backward()
    sum(expected).backward()
    for mine, theirs in zip(nodes.values(), others.values(), strict=True):
        for one, other in zip(gradients(mine), gradients(theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("rows", MATRICES, ids=range(len(MATRICES)))
def test_one_joint_step_is_a_separate_step_of_each_node(rows) -> None:
    together, apart = networks(), networks()
    graph = from_matrix(together, rows)
    inputs, labels = batch()
    optimizer = torch.optim.SGD([p for n in graph.learning for p in graph.parameters_of(n)], lr=0.5)
    sum(graph(inputs, labels=labels, progress=0.3).values()).backward()
    optimizer.step()
    before = copy.deepcopy(apart)
    for i, (name, node) in enumerate(apart.items()):
        seen = {**before, name: node}  # nobody sees another's new weights
        if name in graph.learning:
            own = torch.optim.SGD(node.parameters(), lr=0.5)
            objective(seen, rows, i, 0.3).backward()
            own.step()
    for name in NAMES:
        for one, other in zip(together[name].parameters(), apart[name].parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@given(st.lists(st.sampled_from(sorted(GATES)), min_size=9, max_size=9), st.permutations(NAMES))
def test_the_order_of_the_networks_does_not_matter_to_anybody(entries: list[str], order: list[str]) -> None:
    rows = [entries[3 * i : 3 * i + 3] for i in range(3)]
    order = sorted(order, key=lambda name: name != "a")  # the target stays first
    if all(entry == "cutoff" for entry in rows[0]):
        return
    place = [NAMES.index(name) for name in order]
    nodes = networks()
    first = from_matrix(nodes, rows)
    again = networks()
    second = from_matrix({name: again[name] for name in order}, [[rows[i][j] for j in place] for i in place])
    inputs, labels = batch()
    for progress in (0.0, 0.4):
        found, other = (graph(inputs, labels=labels, progress=progress) for graph in (first, second))
        assert found.keys() == other.keys()
        assert all(torch.equal(found[name], other[name]) for name in found)


def test_a_row_receives_and_a_column_sends() -> None:
    rows = [["through", "correct", "cutoff"], ["cutoff", "linear_up", "through"], ["cutoff", "cutoff", "cutoff"]]
    graph = from_matrix(networks(), rows)
    assert [(edge.source, edge.target, edge.gate) for edge in graph.edges] == [
        (("labels",), "a", 1.0),
        (("b", "labels"), "a", 1.0),
        (("labels",), "b", Linear(0.0, 1.0)),
        (("c",), "b", 1.0),
    ]
    assert graph.learning == ("a", "b")
    assert graph.frozen == ("c",)  # nothing reaches it: it only teaches


def test_labels_are_always_right() -> None:
    rows = [["correct", "cutoff"], ["cutoff", "correct"]]
    through = [["through", "cutoff"], ["cutoff", "through"]]
    assert from_matrix(networks(names=("a", "b")), rows).edges == from_matrix(networks(names=("a", "b")), through).edges


def test_a_gate_that_is_always_zero_draws_no_edge_and_its_loss_is_never_called() -> None:
    def never(student: Tensor, teacher: Tensor) -> Tensor:
        raise AssertionError("a cut edge was computed")

    graph = from_matrix(networks(), [["through", "cutoff", 0.0]] + [["cutoff"] * 3] * 2, loss=never)
    assert len(graph.edges) == 1
    graph(*batch())


def test_any_gate_may_stand_in_the_matrix() -> None:
    moving = PerEpoch(3, Cosine(0.0, 1.0))
    graph = from_matrix(networks(names=("a", "b")), [[1, moving], [0, 2.5]])
    assert [edge.gate for edge in graph.edges] == [1, moving, 2.5]


def test_losses_can_differ_from_edge_to_edge_and_get_what_they_read() -> None:
    cold = partial(losses.kd, temperature=4.0)
    rows = [["through"] * 3] * 3
    graph = from_matrix(networks(), rows, loss={("b", "a"): losses.dkd, ("a", "b"): cold})
    by_name = {edge.name: edge for edge in graph.edges}
    assert by_name["b, labels -> a: dkd"].loss is losses.dkd
    assert by_name["a -> b: kd"].loss is cold
    assert by_name["c -> a: kd"].loss.keywords == {"temperature": 1.0}
    both = from_matrix(networks(names=("a", "b")), [[1, "correct"], [0, 1]], loss=losses.dkd)
    assert both.edges[1].sources == ("b", "labels", "labels")  # the loss reads them, and so does the gate
    both(*batch())


def test_a_loss_of_ones_own_may_teach() -> None:
    def squares(student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(1)

    graph = from_matrix(networks(names=("a", "b")), [[1, "correct"], [1, 1]], loss=squares)
    inputs, labels = batch()
    a, b = (graph.predict(name, inputs) for name in "ab")
    mask = (b.argmax(1) == labels).double()
    found = graph(inputs, labels=labels)["b, labels -> a: where_correct(squares)"]
    assert found.item() == pytest.approx((mask * (a - b).square().mean(1)).mean().item())


def test_views_and_example_reach_the_graph() -> None:
    graph = from_matrix(networks(names=("a", "b")), [[1, 1], [0, 0]], views={"b": torch.neg}, example=batch())
    inputs, _ = batch()
    assert torch.equal(graph.predict("b", inputs), graph.nodes["b"](-inputs))


BAD = {
    "2 networks has 2 rows (receivers) of 2 columns (senders), got 3 rows of 2": [[1, 1]] * 3,
    "got 2 rows of 1 or 2": [[1, 1], [1]],
    "got 0 rows of 0": [],
    "the row of the target 'a' is all cut: it would learn from nobody": [["cutoff", 0.0], [1, 1]],
    "unknown gate 'thru': did you mean 'through'?": [["thru", 1], [1, 1]],
}


@pytest.mark.parametrize("message", BAD)
def test_a_matrix_that_makes_no_sense_is_refused(message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        from_matrix(networks(names=("a", "b")), BAD[message])


def test_nothing_is_frozen_by_a_matrix_that_is_refused() -> None:
    nodes = networks(names=("a", "b", "c"))
    with pytest.raises(UsageError, match="unknown gate"):
        from_matrix(nodes, [[1, 1, 1], [0, 0, 0], [1, 1, "none"]])
    assert all(p.requires_grad for node in nodes.values() for p in node.parameters())


def test_a_frozen_network_cannot_have_an_open_row() -> None:
    nodes = networks(names=("a", "b"))
    freeze(nodes["b"])
    with pytest.raises(UsageError, match="node 'b' is frozen and cannot learn"):
        from_matrix(nodes, [[1, 1], [1, 1]])


@pytest.mark.parametrize("pair", [("a", "z"), ("a", "a")])
def test_a_loss_for_a_transfer_that_cannot_be_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=re.escape(f"loss of {pair!r}: a transfer is named (source, target), of a, b")):
        from_matrix(networks(names=("a", "b")), [[1, 1], [1, 1]], loss={pair: losses.kd})


def test_a_loss_on_features_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="pkt does not compare logits: draw its Edge yourself"):
        from_matrix(networks(names=("a", "b")), [[1, 1], [1, 1]], loss=losses.pkt)


def test_the_text_of_a_matrix_shows_rows_of_receivers() -> None:
    rows = [["linear_up", "correct", 0.5], ["through", "linear_down", "cutoff"], ["cutoff"] * 3]
    assert to_matrix(from_matrix(networks(), rows)).splitlines() == [
        r"learns \ from  a          b            c",
        "a              linear_up  correct      0.5",
        "b              1          linear_down  0",
        "c              0          0            0",
    ]


def test_the_text_shows_edges_that_no_matrix_has() -> None:
    nodes = networks(names=("a", "b"))
    edges = [
        Edge("labels", "a", losses.cross_entropy, 0.1),
        Edge("b", "a", losses.kd, 0.9),
        Edge("b.0", "a.0", losses.hint, 2.0),
        Edge(("b", "labels"), "a", losses.where_correct(losses.kd), 0.5, name="half"),
        Edge("labels", "b", losses.cross_entropy),
    ]
    _, first, second = to_matrix(Graph(nodes, edges)).splitlines()
    assert re.split("  +", first) == ["a", "0.1", "0.9 + 2 + correct x 0.5"]
    assert re.split("  +", second) == ["b", "0", "1"]


def test_every_matrix_of_two_learners_can_be_drawn_and_trained() -> None:
    inputs, labels = batch()
    for entries in itertools.product(GATES, repeat=4):
        rows = [entries[:2], entries[2:]]
        if set(rows[0]) == {"cutoff"}:
            continue
        graph = from_matrix(networks(names=("a", "b")), rows)
        total = sum(graph(inputs, labels=labels, progress=0.5).values())
        total.backward()
        for name, node in graph.nodes.items():
            assert all((p.grad is not None) == (name in graph.learning) for p in node.parameters())


def test_drawing_asks_for_receiver_and_sender() -> None:
    asked = {("a", "a"): 1.0, ("b", "b"): 2.0, ("a", "b"): 3.0, ("b", "a"): 0.0}
    graph = draw(networks(names=("a", "b")), lambda target, source: asked[target, source], losses.kd, None, None)
    assert {edge.name: edge.gate for edge in graph.edges} == {
        "labels -> a: cross_entropy": 1.0,
        "b -> a: kd": 3.0,
        "labels -> b: cross_entropy": 2.0,
    }


def test_a_full_graph_is_the_matrix_of_its_gate() -> None:
    rows = [["through" if i == j else "correct" for j in range(3)] for i in range(3)]
    names = [str(edge) for edge in full(networks(), gate="correct").edges]
    assert names == [str(edge) for edge in from_matrix(networks(), rows).edges]
