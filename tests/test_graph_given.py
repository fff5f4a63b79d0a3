"""What is known already need not be computed: tensors given in place of what frozen nodes would show."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, freeze, gates

N, D, K = 6, 4, 3


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K))


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def distilling(features: Any = 1.0) -> tuple[Graph, list[int]]:
    """A graph, and a list that grows with every run of its teacher."""
    teacher, runs = freeze(network()), []
    graph = Graph(
        {"teacher": teacher, "student": network()},
        [
            Edge("labels", "student", F.cross_entropy, name="labels"),
            Edge("teacher", "student", per_sample, name="logits"),
            Edge("teacher.2:in", "student.2:in", per_sample, features, name="features"),
        ],
    )
    teacher.register_forward_hook(lambda *_: runs.append(1))
    return graph, runs


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(N, D), torch.randint(0, K, (N,))


def shown(graph: Graph, inputs: Tensor) -> dict[str, Tensor]:
    teacher = graph.nodes["teacher"]
    with torch.no_grad():
        return {"teacher": teacher(inputs), "teacher.2:in": teacher[:2](inputs)}


def test_losses_and_gradients_are_those_of_a_teacher_that_runs() -> None:
    graph, runs = distilling()
    x, y = batch()
    given = shown(graph, x)
    live = graph(x, y)
    sum(live.values()).backward()
    expected = [p.grad.clone() for p in graph.nodes["student"].parameters()]
    runs.clear()
    graph.zero_grad()
    losses = graph(x, y, given=given)
    sum(losses.values()).backward()
    assert runs == []
    assert list(losses) == list(live)
    assert all(torch.equal(losses[name], live[name]) for name in live)
    grads = [p.grad for p in graph.nodes["student"].parameters()]
    assert all(torch.equal(a, b) for a, b in zip(grads, expected, strict=True))


def test_a_given_tensor_is_what_the_loss_sees() -> None:
    graph, _ = distilling()
    x, y = batch()
    given = shown(graph, x) | {"teacher": torch.full((N, K), 7.0)}
    assert torch.equal(
        graph(x, y, given=given)["logits"], per_sample(graph.predict("student", x), given["teacher"]).mean()
    )


def test_a_node_runs_if_anything_else_is_read_from_it() -> None:
    graph, runs = distilling(gates.Between(0.0, 0.5))
    x, y = batch()
    given = {"teacher": torch.zeros(N, K)}
    early = graph(x, y, progress=0.0, given=given)
    assert runs == [1]
    assert torch.equal(early["logits"], graph.predict("student", x).square().sum(1).mean())
    assert list(graph(x, y, progress=1.0, given=given)) == ["labels", "logits"]
    assert runs == [1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_for_the_losses(dtype: torch.dtype) -> None:
    graph, _ = distilling()
    x, y = batch()
    given = {name: tensor.to(dtype) for name, tensor in shown(graph, x).items()}
    losses = graph(x, y, given=given)
    assert losses["logits"].dtype == torch.float32
    assert torch.equal(losses["logits"], graph(x, y, given={k: v.float() for k, v in given.items()})["logits"])


def test_no_gradient_reaches_what_is_given() -> None:
    graph, _ = distilling()
    x, y = batch()
    given = {name: tensor.requires_grad_() for name, tensor in shown(graph, x).items()}
    sum(graph(x, y, given=given).values()).backward()
    assert all(tensor.grad is None for tensor in given.values())


def test_building_needs_no_teacher_either() -> None:
    graph, runs = distilling()
    x, y = batch()
    given = shown(graph, x)
    runs.clear()
    graph.build(x, y, given=given)
    assert runs == []
    with pytest.raises(UsageError, match="'logits' failed on tensors of shape"):
        graph.build(x, y, given=given | {"teacher": torch.zeros(N, K + 1)})


def test_reads_says_what_open_edges_need() -> None:
    graph, _ = distilling(gates.Between(0.0, 0.5))
    assert graph.reads()["teacher"] == graph.reads(0.0)["teacher"] == ("teacher", "teacher.2:in")
    assert graph.reads(1.0) == {"labels": ("labels",), "teacher": ("teacher",), "student": ("student",)}


def test_runs_says_who_runs_and_who_learns() -> None:
    graph, runs = distilling(gates.Between(0.0, 0.5))
    x, y = batch()
    given = shown(graph, x)
    assert graph.runs(0.0) == {"teacher": False, "student": True}
    assert graph.runs(0.0, given) == {"student": True}
    assert graph.runs(0.0, ("teacher",)) == {"teacher": False, "student": True}  # an edge reads more of it
    assert graph.runs(1.0, ("teacher",)) == {"student": True}
    assert graph.runs(0.0, only=()) == {}
    for progress, known in ((0.0, {}), (0.0, given), (1.0, {"teacher": given["teacher"]})):
        runs.clear()
        graph(x, y, progress=progress, given=known)
        assert bool(runs) == ("teacher" in graph.runs(progress, known))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("teacher.0", "unknown given address 'teacher.0'"),
        ("student", "'student' is not in a frozen node"),
        ("labels", "'labels' is not in a frozen node"),
    ],
)
def test_only_addresses_of_frozen_nodes_can_be_given(address: str, message: str) -> None:
    graph, _ = distilling()
    x, y = batch()
    for call in (graph, graph.build):
        with pytest.raises(UsageError, match=message):
            call(x, y, given={address: torch.zeros(N, K)})


def test_given_tensors_are_inputs_of_one_compiled_graph() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def backend(module: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        graphs.append(module)
        return module.forward

    graph, runs = distilling(gates.Linear(1.0, 0.5))
    plain, _ = distilling(gates.Linear(1.0, 0.5))
    plain.load_state_dict(graph.state_dict())
    graph.compile(backend=backend)
    for step in range(6):
        x, y = batch()
        given = shown(graph, x)
        runs.clear()
        given = dict(reversed(given.items())) if step % 2 else given
        losses = graph(x, y, progress=step / 5, given=given)
        assert runs == []
        expected = plain(x, y, progress=step / 5)
        for name in expected:
            torch.testing.assert_close(losses[name], expected[name])
        sum(losses.values()).backward()
    assert len(graphs) == 1
    linear = [node for node in graphs[0].graph.nodes if node.target is torch._C._nn.linear]
    assert len(linear) == 2  # the student's
