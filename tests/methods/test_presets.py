import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Graph, UsageError, fit, freeze, losses
from mentorch.gates import Linear
from mentorch.methods import chain, full, independent, mutual, supervise, to_matrix

NAMES = ("a", "b", "c")


def networks(count: int = 3) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: nn.Linear(5, 4).double() for name in NAMES[:count]}


def batch(n: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, dtype=torch.float64, generator=draw), torch.randint(0, 4, (n,), generator=draw)


def total(graph: Graph, name: str) -> float:
    inputs, labels = batch()
    return sum(v.item() for key, v in graph(inputs, labels=labels).items() if f"-> {name}:" in key)


def kl(teacher: Tensor, student: Tensor) -> float:
    return F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean").item()


def test_mutual_learning_of_two_is_the_closed_formula() -> None:
    graph = mutual(networks(2))
    inputs, labels = batch()
    a, b = (graph.predict(name, inputs) for name in "ab")
    assert total(graph, "a") == pytest.approx(F.cross_entropy(a, labels).item() + kl(b, a), rel=1e-12)
    assert total(graph, "b") == pytest.approx(F.cross_entropy(b, labels).item() + kl(a, b), rel=1e-12)
    assert mutual(networks(2), average=True).edges == graph.edges


@pytest.mark.parametrize(("average", "weight"), [(False, 1.0), (True, 0.5)])
def test_mutual_learning_of_three_sums_or_averages_over_peers(average: bool, weight: float) -> None:
    graph = mutual(networks(), average=average)
    inputs, labels = batch()
    logits = {name: graph.predict(name, inputs) for name in NAMES}
    for name in NAMES:
        peers = sum(kl(logits[other], logits[name]) for other in NAMES if other != name)
        expected = F.cross_entropy(logits[name], labels).item() + weight * peers
        assert total(graph, name) == pytest.approx(expected, rel=1e-12)


def test_the_temperature_is_bound_to_the_loss() -> None:
    graph = mutual(networks(2), loss=partial(losses.kd, temperature=3.0))
    inputs, labels = batch()
    a, b = (graph.predict(name, inputs) for name in "ab")
    expected = F.cross_entropy(a, labels).item() + 9 * kl(b / 3, a / 3)
    assert total(graph, "a") == pytest.approx(expected, rel=1e-12)


def test_independent_networks_are_trained_as_each_alone() -> None:
    together, alone = networks(), networks()
    data = [batch(seed=seed) for seed in range(3)]
    options = {"optimizer": partial(torch.optim.Adam, lr=0.05), "epochs": 2, "device": "cpu", "progress": False}
    fit(independent(together), data, **options)
    for name in NAMES:
        fit(supervise(alone[name]), data, **options)
        assert torch.equal(together[name].weight, alone[name].weight)


def test_the_order_of_networks_does_not_matter() -> None:
    data = [batch(seed=seed) for seed in range(3)]
    found = []
    for order in itertools.permutations(NAMES):
        nodes = networks()
        options = {"epochs": 2, "device": "cpu", "progress": False}
        optimizers = {name: partial(torch.optim.SGD, lr=0.1, momentum=0.9) for name in order}
        fit(mutual({name: nodes[name] for name in order}), data, optimizer=optimizers, **options)
        found.append(torch.stack([nodes[name].weight.detach() for name in NAMES]))
    assert all(torch.allclose(found[0], other, rtol=1e-10) for other in found[1:])


def test_a_chain_ends_with_its_frozen_teacher() -> None:
    graph = chain(networks())
    assert graph.learning == ("a", "b")
    assert graph.frozen == ("c",)
    inputs, labels = batch()
    a, b, c = (graph.predict(name, inputs) for name in NAMES)
    assert total(graph, "a") == pytest.approx(F.cross_entropy(a, labels).item() + kl(b, a), rel=1e-12)
    assert total(graph, "b") == pytest.approx(F.cross_entropy(b, labels).item() + kl(c, b), rel=1e-12)


def test_gates_of_chains_and_full_graphs_are_for_transfers_and_labels_have_their_own() -> None:
    rising = Linear(0.0, 2.0)
    for make in (chain, full):
        graph = make(networks(), gate=rising, labels=0.25)
        for edge in graph.edges:
            assert edge.gate == (0.25 if edge.source == ("labels",) else rising)


def test_a_full_graph_has_every_ordered_pair_and_the_labels() -> None:
    edges = full(networks()).edges
    assert sorted((edge.sources[0], edge.target) for edge in edges) == sorted(
        [*itertools.permutations(NAMES, 2), *(("labels", name) for name in NAMES)]
    )


@pytest.mark.parametrize("make", [independent, mutual, full, chain])
def test_frozen_networks_only_teach(make: Callable[..., Graph]) -> None:
    nodes = networks()
    freeze(nodes["c"])
    before = nodes["c"].weight.clone()
    graph = make(nodes)
    assert graph.frozen == ("c",)
    sum(graph(*batch()).values()).backward()
    assert nodes["c"].weight.grad is None
    assert torch.equal(nodes["c"].weight, before)


def test_labels_can_be_left_out() -> None:
    assert [edge.name for edge in mutual(networks(2), labels=0.0).edges] == ["b -> a: kd", "a -> b: kd"]


@pytest.mark.parametrize(("make", "what"), [(mutual, "mutual learning"), (full, "a full graph"), (chain, "a chain")])
def test_one_network_has_nobody_to_learn_with(make: Callable[..., Graph], what: str) -> None:
    with pytest.raises(UsageError, match=f"{what} needs two networks or more, got 1"):
        make(networks(1))


@pytest.mark.parametrize("make", [full, chain])
def test_unknown_gates_are_named(make: Callable[..., Graph]) -> None:
    with pytest.raises(UsageError, match="unknown gate 'correkt': did you mean 'correct'"):
        make(networks(), gate="correkt")


@pytest.mark.parametrize("make", [independent, mutual, full, chain])
def test_views_and_example_reach_the_graph(make: Callable[..., Graph]) -> None:
    graph = make(networks(), views={"a": torch.neg}, example=batch())
    inputs, _ = batch()
    assert torch.equal(graph.predict("a", inputs), graph.nodes["a"](-inputs))
    assert "a" in to_matrix(graph)
