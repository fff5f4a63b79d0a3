"""What training may cost, counted and not timed: forward passes, graphs, memory, bytes on disk."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from mentorch import Edge, Graph, On, fit, freeze, gates, methods
from mentorch.losses import cross_entropy, kd

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
N, K = 16, 3
IO = Path("/proc/self/io")


def network(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, K))


def taught(width: int, frozen: bool = True) -> Graph:
    """A student that learns from labels and from a teacher of some width; both have labels where both learn."""
    torch.manual_seed(0)
    teacher = network(width)
    edges = [Edge("labels", "student", cross_entropy), Edge("teacher", "student", kd)]
    if frozen:
        freeze(teacher)
    else:
        edges.append(Edge("labels", "teacher", cross_entropy))
    return Graph({"teacher": teacher, "student": network()}, edges)


def batches(count: int = 4, last: int = N) -> list[tuple[Tensor, Tensor]]:
    sizes = [N] * (count - 1) + [last]
    return [(torch.randn(n, 4), torch.randint(0, K, (n,))) for n in sizes]


@pytest.mark.parametrize("count", [2, 4])
def test_each_network_runs_once_per_batch_and_one_backward_serves_all(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = methods.mutual({str(i): network() for i in range(count)})
    ran: list[str] = []
    for name, node in graph.nodes.items():
        node.register_forward_hook(lambda *_, name=name: ran.append(name))
    backward: list[int] = []
    whole = Tensor.backward
    monkeypatch.setattr(Tensor, "backward", lambda *args: (backward.append(1), whole(*args))[1])
    fit(graph, batches(5), optimizer=dict.fromkeys(graph.learning, SGD), epochs=2, progress=False)
    assert {name: ran.count(name) for name in graph.nodes} == dict.fromkeys(graph.nodes, 2 * 5 + 1)  # one to build
    assert len(backward) == 2 * 5


def test_one_graph_is_compiled_for_each_size_of_batch_and_never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over epochs, moving gates and validation; the last batch of an epoch is smaller."""
    torch._dynamo.reset()
    counters.clear()
    compiled: list[int] = []

    def count(module: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        compiled.append(1)
        return module.forward

    monkeypatch.setattr(Graph, "compile", functools.partialmethod(Graph.compile, backend=count))
    networks = {str(i): network() for i in range(3)}
    graph = methods.full(networks, gate=gates.Linear(0.1, 1.0), labels=gates.Cosine(1.0, 0.5))
    seen: list[int] = []
    fit(
        graph,
        batches(3, last=5),
        optimizer=SGD,
        epochs=4,
        validation=batches(2),
        compile=True,
        callbacks=[On("epoch", lambda _: seen.append(len(compiled)))],
        progress=False,
    )
    assert seen == [2, 2, 2, 2]
    assert not counters["graph_break"]
    torch._dynamo.reset()


def saved(graph: Graph) -> int:
    """Bytes that a step keeps for its backward pass, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in graph.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs, labels = batches(1)[0]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = graph(inputs, labels)  # held until all is counted, so that no storage is used twice
    assert losses
    return sum(kept.values())


def test_a_teacher_keeps_nothing_for_the_backward_pass() -> None:
    assert saved(taught(8)) == saved(taught(2048))
    learning = saved(taught(2048, frozen=False)) - saved(taught(8, frozen=False))
    assert learning > N * 2048 * 4  # what one that learns keeps, or nothing was counted


def test_a_teacher_has_no_gradient_and_nothing_in_the_optimiser() -> None:
    graph, held = taught(2048), []

    def count(training: Any) -> None:
        state = training.steering.optimizers["all"].state
        held.append(sum(v.nbytes for each in state.values() for v in each.values() if isinstance(v, Tensor)))

    fit(graph, batches(), optimizer=SGD, epochs=1, callbacks=[On("end", count)], progress=False)
    assert held == [sum(p.nbytes for p in graph.nodes["student"].parameters())]
    assert all(p.grad is None for p in graph.nodes["teacher"].parameters())


@pytest.mark.skipif(not IO.exists(), reason="bytes written are counted by Linux")
def test_a_teacher_costs_nothing_on_disk_and_no_epoch_costs_more_than_another(tmp_path: Path) -> None:
    def written() -> int:
        return int(IO.read_text().split("wchar:")[1].split()[0])

    def per_epoch(width: int, epochs: int) -> list[int]:
        marks = [written()]
        fit(
            taught(width),
            batches(),
            optimizer=SGD,
            epochs=epochs,
            run=tmp_path / str(width),
            tensorboard=False,
            callbacks=[On("epoch", lambda _: marks.append(written()))],
            progress=False,
        )
        return [after - before for before, after in itertools.pairwise(marks)]

    small, large = per_epoch(8, 12), per_epoch(2048, 2)
    assert large[1] < small[1] + 1000  # a teacher of 2048 would have 57 KiB
    record = 2000  # what a checkpoint tells of an epoch
    assert max(small[2:]) < small[1] + 12 * record


def test_several_students_share_a_forward_pass_and_learn_what_each_learns_alone() -> None:
    def students() -> dict[str, nn.Module]:
        torch.manual_seed(1)
        return {name: network() for name in "abc"}

    def train(learners: dict[str, nn.Module]) -> int:
        torch.manual_seed(0)
        teacher, ran = freeze(network(32)), []
        teacher.register_forward_hook(lambda *_: ran.append(1))
        edges = [
            edge
            for name in learners
            for edge in (Edge("labels", name, cross_entropy, 0.1), Edge("teacher", name, kd, gates.Linear(0.5, 1.0)))
        ]
        graph = Graph({"teacher": teacher, **learners}, edges)
        torch.manual_seed(2)
        fit(graph, batches(), optimizer=dict.fromkeys(learners, SGD), epochs=2, progress=False)
        return len(ran)

    together, apart = students(), students()
    assert train(together) == 2 * 4 + 1  # one to build
    for name, each in apart.items():
        train({name: each})
        for key, value in each.state_dict().items():
            assert torch.equal(together[name].state_dict()[key], value), (name, key)
