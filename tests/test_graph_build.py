"""Edges that own weights, and the probe batch that creates them."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, MentorchError, RunError, UsageError, freeze

N, D, K = 6, 4, 3


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


class Regressor(nn.Module):
    """An adapter whose shape comes from the probe batch."""

    def __init__(self) -> None:
        super().__init__()
        self.built: list[tuple[int, ...]] = []

    def build(self, student: Tensor, *teachers: Tensor) -> None:
        assert not student.requires_grad
        assert len(teachers) == 1
        self.built.append((student.shape[1], teachers[0].shape[1]))
        self.fc = nn.Linear(student.shape[1], teachers[0].shape[1])
        self.norm = nn.BatchNorm1d(teachers[0].shape[1])

    def forward(self, student: Tensor) -> Tensor:
        return self.norm(self.fc(student))


class Projected(nn.Module):
    """A loss with weights, built after the adapter: it sees what the adapter returns."""

    def build(self, student: Tensor, *teachers: Tensor) -> None:
        self.scale = nn.Parameter(torch.ones(student.shape[1]))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return per_sample(student * self.scale, teacher)


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, K))


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(N, D), torch.randint(0, K, (N,))


def building(**options: Any) -> Graph:
    return Graph(
        {"teacher": freeze(network(8)), "student": network(5)},
        [
            Edge("labels", "student", F.cross_entropy),
            Edge("teacher.1", "student.1", Projected(), adapter=Regressor(), name="features"),
        ],
        **options,
    )


def test_weights_are_made_from_the_probe_batch() -> None:
    graph = building()
    assert not graph.built
    assert graph.build(*batch()) is graph
    assert graph.built
    adapter = graph.edges[1].adapter
    assert adapter.built == [(5, 8)]
    assert graph.edges[1].loss.scale.shape == (8,)
    assert building(example=batch()).built


def test_weights_of_edges_belong_to_the_node_that_learns() -> None:
    graph = building(example=batch())
    owned = {id(p) for p in graph.owned.parameters()}
    assert len(owned) == 2 + 2 + 1
    assert owned <= {id(p) for p in graph.parameters_of("student")}
    assert owned <= {id(p) for p in graph.parameters()}
    assert len(list(graph.parameters_of("student"))) == len(owned) + len(list(graph.nodes["student"].parameters()))


def test_weights_of_edges_are_trained() -> None:
    graph = building(example=batch())
    before = {name: value.clone() for name, value in graph.owned.named_parameters()}
    optimizer = torch.optim.Adam(graph.parameters_of("student"), lr=0.1)
    sum(graph(*batch()).values()).backward()
    optimizer.step()
    for name, value in graph.owned.named_parameters():
        if not name.endswith("fc.bias"):  # batch normalisation takes it away again
            assert not torch.equal(value, before[name]), name


def test_weights_of_edges_are_saved_and_loaded() -> None:
    trained, fresh = building(example=batch()), building(example=batch())
    with torch.no_grad():
        for parameter in trained.owned.parameters():
            parameter.add_(1.0)
    fresh.load_state_dict(trained.state_dict())
    x, y = batch()
    trained.eval()
    fresh.eval()
    assert {k: v.item() for k, v in trained(x, y).items()} == {k: v.item() for k, v in fresh(x, y).items()}


def test_weights_of_edges_move_with_the_graph() -> None:
    graph = building(example=batch()).double()
    assert {p.dtype for p in graph.owned.parameters()} == {torch.float64}
    x, y = batch()
    sum(graph(x.double(), y).values()).backward()


def test_building_again_is_harmless() -> None:
    graph = building(example=batch())
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    graph.build(*batch()).build(*batch())
    assert graph.edges[1].adapter.built == [(5, 8)]
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_building_changes_no_mode_and_no_statistic(training: bool) -> None:
    graph = building()
    graph.train(training)
    graph.nodes["student"][1].eval()  # a choice of the user's, kept
    modes = {name: module.training for name, module in graph.named_modules()}
    state = {name: value.clone() for name, value in graph.state_dict().items()}
    graph.build(*batch())
    assert {name: m.training for name, m in graph.named_modules() if name in modes} == modes
    assert all(torch.equal(value, state[name]) for name, value in graph.state_dict().items() if name in state)
    assert all(p.grad is None for p in graph.parameters())
    norm = graph.edges[1].adapter.norm
    assert norm.num_batches_tracked == 0
    assert not norm.running_mean.any()
    assert norm.training == training


def test_building_draws_no_random_numbers_but_for_the_weights() -> None:
    noisy = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(K))
    graph = Graph(
        {"teacher": freeze(network(8)), "student": network(5)},
        [Edge("teacher", "student", per_sample, adapter=noisy), Edge("labels", "student", F.cross_entropy)],
        views={"student": nn.Dropout(0.5)},
    )
    x, y = batch()
    before = torch.get_rng_state()
    graph.build(x, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert noisy[1].num_batches_tracked == 0


def test_a_failed_build_leaves_modes_and_statistics_as_they_were() -> None:
    graph = building()
    modes = [m.training for m in graph.modules()]
    state = {name: value.clone() for name, value in graph.state_dict().items()}
    with pytest.raises(MentorchError):
        graph.build(batch()[0], torch.full((N,), K))
    assert not graph.built
    assert [m.training for m in graph.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in graph.state_dict().items() if name in state)
    assert graph.build(*batch()).built


def test_a_graph_that_was_not_built_says_so() -> None:
    with pytest.raises(UsageError, match=r"features.*build"):
        building()(*batch())


def test_one_built_loss_on_two_edges_is_refused_or_right() -> None:
    adapter = Regressor()
    nodes = {"teacher": freeze(network(8)), "a": network(5), "b": network(7)}
    try:
        edges = [Edge("teacher.1", f"{name}.1", per_sample, adapter=adapter) for name in "ab"]
        graph = Graph(nodes, edges, example=batch())
    except UsageError as error:
        assert "edge" in str(error)  # noqa: PT017 - either an error or two right losses
    else:
        assert len(graph(*batch())) == 2


def test_weights_are_found_also_when_options_are_bound_to_the_loss() -> None:
    loss = nn.Bilinear(K, K, 1)
    graph = Graph(
        {"teacher": freeze(network(8)), "student": network(5)},
        [Edge("teacher", "student", functools.partial(functools.partial(loss)))],
    )
    assert {id(p) for p in loss.parameters()} <= {id(p) for p in graph.parameters_of("student")}
    assert any(name.startswith("owned") for name in graph.state_dict())


def test_a_stateless_loss_may_serve_many_edges() -> None:
    loss = nn.MSELoss()
    graph = Graph({"teacher": freeze(network(8)), "a": network(5), "b": network(5)},
                  [Edge("teacher", name, loss) for name in "ab"])  # fmt: skip
    assert len(graph(*batch())) == 2


@pytest.mark.parametrize("position", [0, 1])
def test_every_edge_is_tried_and_the_one_that_fails_is_named(position: int) -> None:
    edges = [Edge("labels", "student", F.cross_entropy), Edge("labels", "student", F.cross_entropy, name="second")]
    edges[position] = Edge("teacher", "student", per_sample, name="the edge")
    with pytest.raises(UsageError, match=r"edge 'the edge' failed on tensors of shape \[6, 3\], \[6, 5\]"):
        Graph({"teacher": freeze(nn.Linear(D, 5)), "student": nn.Linear(D, K)}, edges, example=batch())


def test_missing_labels_are_named_when_the_graph_is_built() -> None:
    with pytest.raises(RunError, match="'labels', but the batch has no labels"):
        building().build(batch()[0])


@pytest.mark.parametrize("result", [1.0, None, ("a", "b")])
def test_a_loss_that_returns_no_tensor_is_named_while_it_runs_too(result: Any) -> None:
    graph = Graph({"student": nn.Linear(D, K)}, [Edge("labels", "student", lambda z, y: result, name="the edge")])
    with pytest.raises((UsageError, RunError), match="the edge"):
        graph(*batch())
