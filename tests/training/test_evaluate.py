"""Evaluation: exact over unequal batches, per node, and without a trace."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from mentorch import Edge, Graph, UsageError, evaluate, fit, freeze
from mentorch.data import Batches, Split
from mentorch.training import evaluating

MakeData = Callable[..., list[tuple[Tensor, Tensor]]]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def graph() -> Graph:
    torch.manual_seed(0)
    nodes = {"teacher": freeze(network()), "a": network(), "b": network()}
    return Graph(nodes, [Edge("labels", "a", F.cross_entropy), Edge("teacher", "b", F.mse_loss)])


def squared(output: Tensor, labels: Tensor) -> Tensor:
    return (output[:, 0] - labels).square()


def by_numpy(network: nn.Module, data: Any) -> dict[str, float]:
    network.eval()
    with torch.no_grad():
        logits = np.concatenate([network(x).double().numpy() for x, _ in data])
    labels = np.concatenate([y.numpy() for _, y in data])
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return {
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "cross_entropy": float(-log_probability[np.arange(len(labels)), labels].mean()),
        "squared": float(((logits[:, 0] - labels) ** 2).mean()),
    }


def test_means_over_samples_equal_numpy(graph: Graph, data: MakeData) -> None:
    batches = [*data(3, size=7), *data(1, size=1, seed=1), *data(1, size=2, seed=2)]
    found = evaluate(graph, batches)
    assert list(found) == ["a", "b"]
    for name in ("a", "b"):
        expected = by_numpy(graph.nodes[name], batches)
        assert found[name] == pytest.approx({k: expected[k] for k in ("accuracy", "cross_entropy")}, rel=1e-6)


def test_how_data_is_cut_into_batches_does_not_matter(graph: Graph, data: MakeData) -> None:
    samples = [(x, y) for xs, ys in data(3, size=7) for x, y in zip(xs, ys, strict=True)]
    found = [evaluate(graph, DataLoader(samples, batch_size=size)) for size in (1, 4, 21, 50)]
    for one in found[1:]:
        for node, values in one.items():
            assert values == pytest.approx(found[0][node], rel=1e-6)


def test_metrics_for_all_and_per_node(graph: Graph, data: MakeData) -> None:
    batches = data(2)
    found = evaluate(graph, batches, metrics={"squared": squared})
    assert found["b"]["squared"] == pytest.approx(by_numpy(graph.nodes["b"], batches)["squared"], rel=1e-6)
    found = evaluate(graph, batches, metrics={"a": {"squared": squared}}, nodes=["a", "b", "teacher"])
    assert {node: list(values) for node, values in found.items()} == {
        "a": ["squared"],
        "b": ["accuracy", "cross_entropy"],
        "teacher": ["accuracy", "cross_entropy"],
    }
    assert evaluate(graph, batches, networks={"a": graph.nodes["b"]})["a"] == evaluate(graph, batches)["b"]


def test_outputs_and_labels_may_be_mappings(data: MakeData) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"logits": self.layer(x["image"])}

    graph = Graph({"a": Two()}, [Edge("labels.kind", "a:logits", F.cross_entropy)])
    batches = [({"image": x}, {"kind": y}) for x, y in data(2)]
    found = evaluate(graph, batches, metrics={"right": lambda o, y: (o["logits"].argmax(1) == y["kind"]).float()})
    assert 0 <= found["a"]["right"] <= 1


def test_views_are_used_and_in_evaluation_mode(data: MakeData) -> None:
    node = nn.Linear(4, 3)
    views = {"a": nn.Sequential(nn.Dropout(0.5), freeze(nn.BatchNorm1d(4, affine=False)))}
    graph = Graph({"a": node}, [Edge("labels", "a", F.cross_entropy)], views=views)
    views["a"][1].running_mean.fill_(3.0)
    batches = data(2)
    with torch.no_grad():
        outputs = torch.cat([node((x - 3.0) / (1 + 1e-5) ** 0.5) for x, _ in batches])
    expected = F.cross_entropy(outputs, torch.cat([y for _, y in batches])).item()
    assert evaluate(graph, batches)["a"]["cross_entropy"] == pytest.approx(expected, rel=1e-5)
    assert views["a"][0].training
    assert views["a"][1].running_mean.tolist() == [3.0] * 4


def test_our_own_batches_are_seen_whole_and_in_order(graph: Graph) -> None:
    images = torch.randint(0, 256, (11, 1, 2, 2), dtype=torch.uint8)
    seen: list[int] = []
    graph.views["a"] = nn.Flatten()

    def note(output: Tensor, labels: Tensor) -> Tensor:
        seen.extend(labels.tolist())
        return labels.float()

    split = Split(images, torch.arange(11), torch.arange(11))
    assert evaluate(graph, Batches(split, 4), nodes=["a"], metrics={"note": note})["a"]["note"] == 5.0
    assert seen == list(range(11))


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "evaluation on empty data"),
        ([torch.zeros(2, 4)], {}, "needs labels"),
        ([(torch.zeros(2, 4), None)], {}, "needs labels"),
        ([(torch.zeros(2, 4), torch.zeros(2))], {"metrics": {"m": lambda o, y: o}}, r"'m' .*per sample, got \[2, 3\]"),
        ([(torch.zeros(2, 4), torch.zeros(2))], {"metrics": {"m": lambda o, y: o.mean()}}, r"per sample, got \[\]"),
        ([(torch.zeros(2, 4), torch.zeros(2))], {"metrics": {"c": {"m": squared}}}, "no node 'c' .*teacher, a, b"),
        ([(torch.zeros(2, 4), torch.zeros(2))], {"nodes": ["c"]}, "unknown node 'c'"),
    ],
)
def test_mistakes_have_one_line(graph: Graph, batches: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(graph, batches, **options)


def test_streams_of_unknown_length(graph: Graph, data: MakeData) -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter([(x, y) for xs, ys in data(3, size=7) for x, y in zip(xs, ys, strict=True)])

    whole = evaluate(graph, data(3, size=7))
    found = evaluate(graph, DataLoader(Stream(), batch_size=4))
    assert found["a"] == pytest.approx(whole["a"], rel=1e-6)


def test_drop_last_is_refused(graph: Graph, data: MakeData) -> None:
    samples = [(x, y) for xs, ys in data(3, size=7) for x, y in zip(xs, ys, strict=True)]
    with pytest.raises(UsageError, match="drop_last"):
        evaluate(graph, DataLoader(samples, batch_size=4, drop_last=True))


def odd_modes(graph: Graph) -> list[bool]:
    """Give every sub-module a mode of its own, against all patterns."""
    for i, module in enumerate(graph.modules()):
        module.training = i % 3 == 0
    return [module.training for module in graph.modules()]


def test_every_mode_is_restored(graph: Graph, data: MakeData) -> None:
    modes = odd_modes(graph)
    evaluate(graph, data(2))
    assert [module.training for module in graph.modules()] == modes


@pytest.mark.parametrize("where", ["metric", "network", "data"])
def test_every_mode_is_restored_after_an_exception(where: str, graph: Graph, data: MakeData) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    class Bad:
        def __iter__(self) -> Any:
            yield from data(1)
            raise ZeroDivisionError

    metrics, batches = {"m": fail} if where == "metric" else None, Bad() if where == "data" else data(1)
    if where == "network":
        graph.nodes["b"][1].register_forward_hook(fail)
    modes = odd_modes(graph)
    with pytest.raises(ZeroDivisionError):
        evaluate(graph, batches, metrics=metrics)
    assert [module.training for module in graph.modules()] == modes
    assert torch.is_grad_enabled()


def test_evaluating_sets_modes_and_gradients() -> None:
    module = network()
    module[1].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert not torch.is_grad_enabled()
    assert module[2].training
    assert not module[1].training


def test_a_partly_frozen_student_keeps_its_modes_through_validation(data: MakeData) -> None:
    """Modes that the user set inside a node before evaluation are there afterwards."""
    student = network()
    graph = Graph({"a": student}, [Edge("labels", "a", F.cross_entropy)])
    modes = odd_modes(graph)
    with evaluating(graph):
        pass
    assert [module.training for module in graph.modules()] == modes


def test_evaluation_waits_for_the_device_once(graph: Graph, data: MakeData) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Waits.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    with Waits():
        evaluate(graph, data(10))
    assert Waits.count == 0  # all sums are read at once


def test_in_half_precision_metrics_stay_finite(graph: Graph, data: MakeData) -> None:
    train = data(2)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    history = fit(graph, train, optimizer=optimizer, epochs=1, validation=train, precision="bf16-mixed")
    values = history.records[0]["validation"]["a"]
    assert np.isfinite(list(values.values())).all()
    assert values == pytest.approx(evaluate(graph, train)["a"], abs=0.2)


def test_several_processes_share_the_samples_and_count_each_once(together) -> None:
    for answer in together("measured"):
        for found, alone in zip(answer["found"], answer["alone"], strict=True):  # 1, 7 and 33 samples for two
            assert found == pytest.approx(alone, rel=1e-6)
