"""One compiled graph: zero breaks, weights move freely, each set of open edges is compiled once."""

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, freeze, gates

N, D, K = 6, 4, 3


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counter:
    """A compiler back end that counts the graphs it was given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return module.forward


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, K))


def batch(n: int = N) -> tuple[Tensor, Tensor]:
    return torch.randn(n, D), torch.randint(0, K, (n,))


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def transfer(first: Any = 1.0, second: Any = 1.0, **options: Any) -> Graph:
    torch.manual_seed(0)
    return Graph(
        {"teacher": freeze(network()), "student": network()},
        [
            Edge("labels", "student", F.cross_entropy, gate=first, name="labels"),
            Edge("teacher.1", "student.1", per_sample, gate=second, adapter=nn.Linear(8, 8), name="features"),
            Edge(("teacher", "labels"), "student", lambda z, t, y: {"a": per_sample(z, t), "b": z.sum()}, name="terms"),
        ],
        **options,
    )


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_graph_has_the_same_losses_and_gradients(backend: str) -> None:
    plain, compiled = transfer(0.3, gates.Cosine()), transfer(0.3, gates.Cosine())
    compiled.compile(backend=backend)
    for progress in (0.0, 0.4):
        x, y = batch()
        ours, theirs = compiled(x, y, progress=progress), plain(x, y, progress=progress)
        assert list(ours) == list(theirs) == ["labels", "features", "terms/a", "terms/b"]
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name])
        for graph, losses in ((compiled, ours), (plain, theirs)):
            graph.zero_grad()
            sum(losses.values()).backward()
        for a, b in zip(compiled.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(compiled.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_have_the_precision_of_the_losses(dtype: torch.dtype) -> None:
    graph = transfer(0.1, 0.7).to(dtype)
    x, y = batch()
    plain = graph(x.to(dtype), y)
    graph.compile(backend="eager")
    for name, value in graph(x.to(dtype), y).items():
        assert value.dtype == dtype
        torch.testing.assert_close(value, plain[name], rtol=8 * torch.finfo(dtype).eps, atol=0.0)


def test_weights_that_move_never_compile_again() -> None:
    counter = Counter()
    graph = transfer(gates.Linear(1.0, 0.1), gates.Cosine(1.0, 0.2))
    graph.compile(backend=counter)
    for step in range(20):
        sum(graph(*batch(), progress=step / 19).values()).backward()
    assert counter.graphs == 1


def test_each_set_of_open_edges_is_compiled_once() -> None:
    counter = Counter()
    graph = transfer(gates.Linear(1.0, 0.5), gates.Between(0.3, 0.6))
    graph.compile(backend=counter)
    seen = []
    for progress in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 1.0, 0.5, 0.0):
        losses = graph(*batch(), progress=progress)
        assert ("features" in losses) == (0.3 <= progress <= 0.6)
        sum(losses.values()).backward()
        seen.append(counter.graphs)
    assert seen == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_a_closed_edge_is_not_in_the_compiled_graph() -> None:
    teacher = freeze(nn.Linear(D, K))
    ran: list[int] = []

    def closed(student: Tensor, teacher: Tensor) -> Tensor:
        ran.append(1)
        return per_sample(student, teacher)

    graph = Graph(
        {"teacher": teacher, "student": network()},
        [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", closed, gate=0.0)],
    )
    graph.compile(backend="eager")
    assert list(graph(*batch())) == ["labels -> student: cross_entropy"]
    assert ran == []


def test_more_sets_of_open_edges_than_the_compiler_likes() -> None:
    gate = [gates.Between(i / 12, 1.0) for i in range(12)]
    edges = [Edge("labels", "student", F.cross_entropy, gate=g, name=str(i)) for i, g in enumerate(gate)]
    graph = Graph({"student": network()}, edges)
    graph.compile(backend="eager")
    for i in range(12):
        assert len(graph(*batch(), progress=(i + 0.5) / 12)) == i + 1


def test_more_graphs_in_one_process_than_the_compiler_likes() -> None:
    alive = [Graph({"student": network()}, [Edge("labels", "student", F.cross_entropy)]) for _ in range(12)]
    for graph in alive:
        graph.compile(backend="eager")
        assert graph(*batch())


def test_the_last_batch_may_be_smaller_and_modes_may_change() -> None:
    graph = transfer()
    graph.compile(backend="eager")
    for n in (N, 4, N, 5, 3):
        for training in (True, False):
            graph.train(training)
            assert len(graph(*batch(n))) == 4


@pytest.mark.parametrize(
    "view",
    [freeze(nn.BatchNorm1d(D)), lambda x: x * 2, functools.partial(torch.mul, torch.tensor(2.0))],
    ids=["module", "function", "partial"],
)
def test_views_compile_too(view: Any) -> None:
    graph = transfer(views={"teacher": view, "student": view})
    graph.eval()
    x, y = batch()
    plain = graph(x, y)
    graph.compile(backend="eager")
    for name, loss in graph(x, y).items():
        torch.testing.assert_close(loss, plain[name])


def test_labels_in_a_mapping_compile_too() -> None:
    graph = Graph({"student": network()}, [Edge("labels.depth", "student", per_sample)])
    x, labels = torch.randn(N, D), {"depth": torch.randn(N, K)}
    (plain,) = graph(x, labels).values()
    graph.compile(backend="eager")
    torch.testing.assert_close(next(iter(graph(x, labels).values())), plain)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch's own, after a break
def test_options_reach_the_compiler() -> None:
    def breaks(z: Tensor, y: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return z.sum()

    graph = Graph({"student": network()}, [Edge("labels", "student", breaks)])
    graph.compile(backend="eager")
    with pytest.raises(torch._dynamo.exc.Unsupported):
        graph(*batch())
    graph.compile(backend="eager", fullgraph=False)
    assert len(graph(*batch())) == 1


def test_a_copy_of_a_compiled_graph_computes_its_own_losses() -> None:
    graph = transfer()
    graph.compile(backend="eager")
    x, y = batch()
    graph(x, y)
    twin = copy.deepcopy(graph)
    for net in (graph, twin):
        net.eval()
    with torch.no_grad():
        for parameter in twin.nodes["student"].parameters():
            parameter.zero_()
    assert twin(x, y)["labels"].item() == pytest.approx(torch.tensor(float(K)).log().item())
    sum(twin(x, y).values()).backward()
    assert all(p.grad is None for p in graph.parameters())
