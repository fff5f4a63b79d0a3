"""A closer look at a graph: numbers against formulas, and nothing disturbed."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, fit, freeze, gates, losses
from mentorch.training import agreement, diagnose

MakeData = Callable[..., list[tuple[Tensor, Tensor]]]
SGD = partial(torch.optim.SGD, lr=0.1)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def make(**options: Any) -> Graph:
    torch.manual_seed(0)
    edges = [
        Edge("labels", "student", F.cross_entropy, 0.3),
        Edge("teacher", "student", losses.kd, gates.Linear(0.0, 2.0)),
        Edge("teacher.0", "student.0", F.mse_loss, gates.Between(0.8, 1.0)),
    ]
    return Graph({"teacher": freeze(network()), "student": network()}, edges, **options)


def plain() -> Graph:
    """Linear, so that a pass does not depend on chance."""
    torch.manual_seed(0)
    edges = [
        Edge("labels", "a", F.cross_entropy),
        Edge("t", "a", losses.kd, 0.5),
        Edge("labels", "b", F.cross_entropy),
        Edge("a", "b", F.mse_loss, 2.0, name="pull"),
    ]
    return Graph({"t": freeze(nn.Linear(4, 3)), "a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, edges)


def test_it_disturbs_nothing(data: MakeData) -> None:
    graph = make()
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    modes = [module.training for module in graph.modules()]
    random = torch.get_rng_state()
    diagnose(graph, *data(1)[0], progress=0.5)
    assert all(torch.equal(before[name], value) for name, value in graph.state_dict().items())
    assert modes == [module.training for module in graph.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in graph.parameters())
    assert not any(m._forward_pre_hooks for n in graph.nodes.values() for m in [n])


def test_an_edge_whose_name_begins_with_that_of_another_is_counted_once(data: MakeData) -> None:
    def two(student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        return {"near": F.l1_loss(student, teacher), "far": F.mse_loss(student, teacher)}

    torch.manual_seed(0)
    edges = [
        Edge("t", "s", losses.kd, name="kd"),
        Edge("t", "s", F.mse_loss, name="kd/late"),
        Edge("t", "s", two, name="kd/late/two"),
    ]
    graph = Graph({"t": freeze(nn.Linear(4, 3)), "s": nn.Linear(4, 3)}, edges)
    inputs = data(1)[0][0]
    found = {name: values["loss"] for name, values in diagnose(graph, inputs)["edges"].items()}
    expected = {name: float(value.detach()) for name, value in graph(inputs).items()}
    both = expected.pop("kd/late/two/near") + expected.pop("kd/late/two/far")
    assert found == pytest.approx({**expected, "kd/late/two": both})


def test_gradients_shares_and_cosines_are_those_of_the_formulas(data: MakeData) -> None:
    graph, (inputs, labels) = plain(), data(1)[0]
    found = diagnose(graph, inputs, labels)
    nodes = graph.nodes

    def norm_and_gradient(loss: Tensor, node: nn.Module) -> tuple[float, Tensor]:
        gradient = torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, list(node.parameters()), retain_graph=True)]
        )
        return float(gradient.norm()), gradient

    a, b, t = nodes["a"](inputs), nodes["b"](inputs), nodes["t"](inputs)
    own = {
        "labels -> a: cross_entropy": (F.cross_entropy(a, labels), nodes["a"], 1.0),
        "t -> a: kd": (0.5 * losses.kd(a, t).mean(), nodes["a"], 0.5),
        "labels -> b: cross_entropy": (F.cross_entropy(b, labels), nodes["b"], 1.0),
        "pull": (2.0 * F.mse_loss(b, a.detach()), nodes["b"], 2.0),
    }
    gradients = {name: norm_and_gradient(loss, node) for name, (loss, node, _) in own.items()}
    assert found["edges"].keys() == own.keys()
    for name, (loss, node, weight) in own.items():
        both = sum(gradients[other][0] for other in own if own[other][1] is node)
        expected = {"weight": weight, "loss": float(loss.detach()), "gradient": gradients[name][0]}
        assert found["edges"][name] == pytest.approx({**expected, "share": gradients[name][0] / both}, rel=1e-5)
    for entry in found["cosines"]:
        one, other = (gradients[name][1] for name in entry["edges"])
        assert entry["cosine"] == pytest.approx(float(F.cosine_similarity(one, other, dim=0)), abs=1e-5)
    assert [entry["node"] for entry in found["cosines"]] == ["a", "b"]


def test_nodes_are_judged_on_what_they_see(data: MakeData) -> None:
    inputs, labels = data(1)[0]
    graph = make(views={"teacher": lambda x: -x})
    found = diagnose(graph, inputs, labels, progress=0.5)["nodes"]
    logits = graph.nodes["teacher"](-inputs)
    p = logits.softmax(1)
    assert found["teacher"]["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert found["teacher"]["entropy"] == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-5)
    assert 0 <= found["student"]["entropy"] <= math.log(3)


def test_closed_edges_are_not_there_and_named_terms_are_one_edge(data: MakeData) -> None:
    def two(student: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"x": F.cross_entropy(student, labels), "y": student.square().mean()}

    graph = Graph({"s": nn.Linear(4, 3)}, [Edge("labels", "s", two), Edge("labels", "s", F.cross_entropy, 0.0)])
    inputs, labels = data(1)[0]
    (edge,) = diagnose(graph, inputs, labels)["edges"].items()
    out = graph.nodes["s"](inputs)
    assert edge[0] == "labels -> s: two"
    assert edge[1]["loss"] == pytest.approx(float((F.cross_entropy(out, labels) + out.square().mean()).detach()))


def test_given_teachers_are_judged_too_and_cost_nothing(data: MakeData) -> None:
    graph, (inputs, labels) = make(), data(1)[0]
    answers = F.one_hot(labels, 3) * 9.0
    found = diagnose(graph, inputs, labels, given={"teacher": answers})
    assert found["nodes"]["teacher"]["accuracy"] == 1.0
    assert set(found["seconds"]["nodes"]) == {"student"}
    assert all(second >= 0 for second in (*found["seconds"]["nodes"].values(), found["seconds"]["backward"]))


def test_a_loss_without_gradient_asks_for_nothing(data: MakeData) -> None:
    edges = [Edge("labels", "s", lambda s, y: s.detach().mean(), name="none"), Edge("labels", "s", F.cross_entropy)]
    found = diagnose(Graph({"s": nn.Linear(4, 3)}, edges), *data(1)[0])
    assert found["edges"]["none"]["gradient"] == 0.0 == found["edges"]["none"]["share"]
    assert found["cosines"] == []


def test_regression_has_no_accuracy(data: MakeData) -> None:
    edge = Edge("labels", "s", lambda s, y: (s - y).square())
    graph = Graph({"s": nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))}, [edge])
    inputs = torch.randn(5, 4)
    assert diagnose(graph, inputs, torch.randn(5))["nodes"] == {}
    assert agreement(graph, [(inputs, torch.randn(5))]) == []


class Says(nn.Module):
    """Answers as it is told: one class for each sample."""

    def __init__(self, what: list[int], classes: int = 3):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("table", F.one_hot(torch.tensor(what), classes).float())

    def forward(self, index: Tensor) -> Tensor:
        return self.table[index] + self.bias


def test_agreement_counts_the_four_cases() -> None:
    answers = {"t": [0, 1, 2, 0, 1], "s": [0, 1, 1, 1, 0]}
    labels = torch.tensor([0, 0, 2, 1, 2])
    edges = [Edge("labels", "s", F.cross_entropy), Edge("t", "s", losses.kd)]
    graph = Graph({"t": freeze(Says(answers["t"])), "s": Says(answers["s"])}, edges)
    batches = [(torch.arange(3), labels[:3]), (torch.arange(3, 5), labels[3:])]
    (pair,) = agreement(graph, batches)
    # right: t T F T F F, s T F F T F; the same answer: samples 0 and 1
    shares = {"both": 0.2, "source_only": 0.2, "target_only": 0.2, "neither": 0.4, "agreement": 0.4}
    assert pair == pytest.approx({"source": "t", "target": "s", **shares})
    (fewer,) = agreement(graph, batches, samples=2)
    assert fewer["both"] == pytest.approx(1 / 3)  # a whole batch
    (other,) = agreement(graph, batches, networks={"s": Says(answers["t"])})
    assert other["agreement"] == 1.0


def test_teachers_with_classes_of_their_own_are_judged_by_what_they_mean() -> None:
    labels = torch.tensor([0, 1, 2, 3])  # two pets and two farm animals
    blocks = ((0, 1), (2, -1, 3))  # the farm has a class that was not chosen
    teachers = {"pets": freeze(Says([0, 1, 0, 1], 2)), "farm": freeze(Says([0, 1, 0, 2], 3))}
    edge = Edge(("pets", "farm"), "s", losses.Concatenated(blocks=blocks))
    example = torch.arange(2), labels[:2]
    graph = Graph({**teachers, "s": Says([0, 0, 2, 3], 4)}, [edge], example=example)
    pets, farm = sorted(agreement(graph, [(torch.arange(4), labels)]), key=lambda pair: pair["source"], reverse=True)
    shares = {"both": 0.25, "source_only": 0.25, "target_only": 0.5, "neither": 0.0, "agreement": 0.25}
    assert pets == pytest.approx({"source": "pets", "target": "s", **shares})
    shares = {"both": 0.5, "source_only": 0.0, "target_only": 0.25, "neither": 0.25, "agreement": 0.5}
    assert farm == pytest.approx({"source": "farm", "target": "s", **shares})
    right = diagnose(graph, torch.arange(4), labels)["nodes"]
    assert {name: found["accuracy"] for name, found in right.items()} == {"pets": 0.5, "farm": 0.5, "s": 0.75}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_fit_looks_every_so_many_epochs_and_in_the_last(every: int, data: MakeData) -> None:
    graph, train = make(), data(4)
    history = fit(graph, train, optimizer=SGD, epochs=4, validation=data(2, seed=1), diagnose=every, progress=False)
    found = ["diagnosis" in record for record in history.records]
    assert found == [epoch % every == 0 or epoch == 3 for epoch in range(4)]
    last = history.records[-1]["diagnosis"]
    assert len(last["edges"]) == 3  # the gate that opens late is open in the last step
    assert last["seconds"]["data"] >= 0
    assert last["pairs"][0]["source"] == "teacher"


def test_looking_changes_no_bit_of_the_result(data: MakeData) -> None:
    states = []
    for every in (None, 1):
        graph = make()
        torch.manual_seed(3)
        fit(graph, data(4), optimizer=SGD, epochs=3, validation=data(2, seed=1), diagnose=every, progress=False)
        states.append(graph.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_compiled_graph_can_be_looked_into(data: MakeData) -> None:
    graph, (inputs, labels) = plain(), data(1)[0]
    expected = diagnose(graph, inputs, labels)
    graph.compile(backend="eager")
    graph(inputs, labels)
    found = diagnose(graph, inputs, labels)
    assert found["edges"] == expected["edges"]
    assert graph._compiled is not None
