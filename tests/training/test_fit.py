"""fit: what it accepts, what it refuses, and what it leaves behind."""

import copy
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning_fabric
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mentorch import Edge, Graph, Monitor, On, RunError, UsageError, evaluate, fit, freeze, gates
from mentorch.networks import state_hash
from mentorch.training import Plateau, _checkpoint

MakeData = Callable[..., list[tuple[Tensor, Tensor]]]
MakeGraph = Callable[..., Graph]
Request = Callable[..., dict[str, Any]]

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.05)


def network(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 3))


@pytest.fixture
def deep() -> Callable[..., Graph]:
    """``deep()``: a student that learns from labels and a wider teacher, both with batch norm and dropout."""

    def make(gate: Any = 1.0, **nodes: nn.Module) -> Graph:
        torch.manual_seed(0)
        edges = [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", F.mse_loss, gate)]
        return Graph({"teacher": freeze(network(16)), "student": network(), **nodes}, edges)

    return make


def state(graph: Graph, name: str = "student") -> dict[str, Tensor]:
    return copy.deepcopy(graph.nodes[name].state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def says(*scores: float) -> dict[str, Any]:
    """Metrics whose only one takes the given values, one per evaluation of one batch; before training it is tried."""
    values = iter([0.0, *scores])
    return {"accuracy": lambda output, labels: torch.full((len(labels),), next(values))}


def without_seconds(history: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history.records]


# what is trained


def test_the_loss_falls_and_the_teacher_stays(deep: MakeGraph, data: MakeData) -> None:
    graph, train = deep(), data(6, size=16)
    before = state_hash(graph.nodes["teacher"])
    history = fit(graph, train, optimizer=ADAM, epochs=20)
    imitation = history.column("train.edges.teacher -> student: mse_loss")
    assert imitation[-1] < 0.8 * imitation[0]
    assert state_hash(graph.nodes["teacher"]) == before
    assert all(p.grad is None for p in graph.nodes["teacher"].parameters())
    assert not any(module.training for module in graph.nodes["teacher"].modules())


def test_steps_are_those_of_a_loop_by_hand(deep: MakeGraph, data: MakeData) -> None:
    train = data(4)
    graph = deep()
    torch.manual_seed(7)
    fit(graph, train, optimizer=partial(ADAM, weight_decay=0.1), epochs=3)
    hand = deep()
    torch.manual_seed(7)
    optimizer = ADAM(hand.nodes["student"].parameters(), weight_decay=0.1)
    for i in range(12):
        optimizer.zero_grad()
        sum(hand(*train[i % 4], progress=i / 11).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert same(state(graph), state(hand))


def test_a_teacher_runs_once_per_batch_and_once_to_build(deep: MakeGraph, data: MakeData) -> None:
    graph, calls = deep(), []
    graph.nodes["teacher"].register_forward_hook(lambda *_: calls.append(1))
    fit(graph, data(5), optimizer=SGD, epochs=3, validation=data(2))
    assert len(calls) == 15 + 1


def test_a_closed_gate_stops_the_teacher(deep: MakeGraph, data: MakeData) -> None:
    graph, calls = deep(gates.Between(0.5, 1.0)), []
    graph.nodes["teacher"].register_forward_hook(lambda *_: calls.append(1))
    history = fit(graph, data(4), optimizer=SGD, epochs=2)
    assert len(calls) == 4 + 1
    assert [len(record["train"]["edges"]) for record in history.records] == [1, 2]


def test_a_teacher_that_changes_is_noticed(deep: MakeGraph, data: MakeData) -> None:
    graph, log = deep(), []

    def edit(_: Any) -> None:
        graph.nodes["teacher"][0].bias.data += 1.0

    callbacks = [On("step", edit, at=[3]), On("error", lambda _: log.append("error"))]
    with pytest.raises(RunError, match="frozen node 'teacher' changed during training"):
        fit(graph, data(2), optimizer=SGD, epochs=2, callbacks=callbacks)
    assert log == ["error"]


def test_two_runs_of_one_graph(deep: MakeGraph, data: MakeData) -> None:
    graph = deep()
    for _ in range(2):
        assert len(fit(graph, data(2), optimizer=SGD, epochs=1).records) == 1


def test_only_inputs_are_enough_without_labels(data: MakeData) -> None:
    graph = Graph({"t": freeze(nn.Linear(4, 3)), "s": nn.Linear(4, 3)}, [Edge("t", "s", F.mse_loss)])
    inputs = [x for x, _ in data(4)]
    loaders = [inputs, [[x] for x in inputs], DataLoader(TensorDataset(torch.cat(inputs)), batch_size=6)]
    for train in [*loaders, [{"inputs": x} for x in inputs]]:
        losses = fit(graph, train, optimizer=SGD, epochs=5).column("train.loss")
        assert losses[-1] < losses[0]


def test_the_index_reaches_the_edges(data: MakeData) -> None:
    seen: list[list[int]] = []

    def loss(student: Tensor, index: Tensor) -> Tensor:
        seen.append(index.tolist())
        return student.square().mean(1)

    graph = Graph({"s": nn.Linear(4, 3)}, [Edge("index", "s", loss)])
    rows = [(x, y, torch.arange(6) + 6 * i) for i, (x, y) in enumerate(data(2))]
    fit(graph, rows, optimizer=SGD, epochs=1)
    assert seen[1:] == [list(range(6)), list(range(6, 12))]


# what is refused


def test_mistaken_arguments_are_refused_before_training(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    rows = [(x, y) for xs, ys in data(2) for x, y in zip(xs, ys, strict=True)]
    other = torch.optim.lr_scheduler.StepLR(SGD([nn.Parameter(torch.ones(1))]), 1)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"steps_per_epoch": 0}, "train gives no batch"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"clip_value": -1.0}, "clip_value must be positive"),
        ({"ema": 1.0}, "ema is a decay between 0 and 1, got 1.0"),
        ({"checkpoint_every": 0, "run": tmp_path}, "checkpoint_every must be at least 1"),
        ({"checkpoint_every": 1}, "need a run folder"),
        ({"resume": True}, "need a run folder"),
        ({"resume": "last", "run": tmp_path}, "resume is True, False or 'previous', got 'last'"),
        ({"train": iter(data(2))}, "train is an iterator"),
        ({"train": (x for x in data(2))}, "train is an iterator"),
        ({"train": []}, "train gives no batch"),
        ({"train": DataLoader(rows, batch_size=13, drop_last=True)}, "train gives no batch.*larger than the data"),
        ({"train": ["abc"]}, "a batch is inputs"),
        ({"validation": iter(data(1))}, "validation is an iterator"),
        ({"validation": DataLoader(rows, drop_last=True)}, "drop_last"),
        ({"select": "bets"}, "select is 'last' or 'best', got 'bets'"),
        ({"select": "best"}, "select='best' needs validation"),
        ({"patience": 3}, "patience needs validation"),
        ({"patience": 0, "validation": data(1)}, "patience must be at least 1"),
        ({"schedule": Plateau()}, "Plateau needs validation"),
        ({"schedule": other}, "StepLR was made for another optimiser"),
        ({"monitor": Monitor(node="teacher"), "validation": data(1)}, "'teacher' is no learning node"),
        ({"monitor": Monitor("top5"), "validation": data(1)}, "no metric 'top5' of 'student' .known: accuracy"),
        ({"metrics": {"iou": F.mse_loss}, "validation": data(1)}, "no metric 'accuracy' of 'student' .known: iou"),
        ({"metrics": {"pupil": {}}, "validation": data(1)}, "no node 'pupil'"),
        ({"optimizer": {"student": SGD, "pupil": SGD}}, "unknown learning node in optimizer 'pupil'"),
        ({"train": [(torch.zeros(2, 4), None)]}, "labels"),
        ({"train": [(torch.zeros(2, 5), torch.zeros(2).long())]}, "5"),
    ]
    for options, message in cases:
        graph = deep()
        before = state(graph)
        with pytest.raises((UsageError, RunError, RuntimeError), match=message) as caught:
            fit(graph, **{"train": data(2), "optimizer": SGD, "epochs": 1, **options})
        assert same(state(graph), before), message
        if message != "5":  # that is the error of the network itself
            assert isinstance(caught.value, UsageError | RunError), message
            assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_data_without_a_length_needs_steps_per_epoch(deep: MakeGraph, data: MakeData) -> None:
    class Stream:
        def __iter__(self) -> Iterator[Any]:
            return iter(data(5))

    with pytest.raises(UsageError, match="train has no length: pass steps_per_epoch="):
        fit(deep(), Stream(), optimizer=SGD, epochs=1)
    history = fit(deep(), Stream(), optimizer=SGD, epochs=2, steps_per_epoch=3)
    assert history.column("step") == [3, 6]
    assert history.samples == 36


def test_data_that_ends_early_is_an_error(deep: MakeGraph, data: MakeData) -> None:
    with pytest.raises(RunError, match="train gave 5 batches in epoch 1, not 6: pass steps_per_epoch="):
        fit(deep(), data(5), optimizer=SGD, epochs=2, steps_per_epoch=6)


# a loss that is not finite


def bomb(at: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss that becomes NaN at one call and then stays so; call 1 builds the graph."""
    calls, limit = iter(range(1, 10_000)), [at]  # a number would make it another loss, and the run another run
    return lambda student, labels: F.cross_entropy(student, labels) * (float("nan") if next(calls) > limit[0] else 1.0)


def test_nan_names_the_edge_and_keeps_the_last_good_checkpoint(data: MakeData, tmp_path: Path) -> None:
    def make(at: int) -> Graph:
        torch.manual_seed(0)
        edges = [Edge("labels", "s", bomb(at), name="the bomb"), Edge("inputs", "s", lambda s, _: s.square().mean(1))]
        return Graph({"s": nn.Linear(4, 3)}, edges)

    options = {"optimizer": ADAM, "epochs": 4, "run": tmp_path, "checkpoint_every": 2, "log_every": 1000}
    log: list[str] = []
    callbacks = [On("error", lambda _: log.append("error"))]
    with pytest.raises(RunError, match=r"loss of edge 'the bomb' became NaN.* in epoch 3, .*step 12 is from before"):
        fit(make(at=1 + 13), data(5), callbacks=callbacks, **options)
    assert log == ["error"]
    found = _checkpoint.load(tmp_path / "checkpoints")
    assert found["step"] == 12
    assert all(torch.isfinite(tensor).all() for tensor in found["nodes"]["s"].values())
    # without the bomb the run goes on from there to where it would have been
    history = fit(make(at=10_000), data(5), resume=True, **options)
    whole = fit(make(at=10_000), data(5), **{**options, "run": tmp_path / "whole"})
    assert without_seconds(history) == without_seconds(whole)


class _Poison(torch.autograd.Function):
    """The identity, whose gradient is NaN."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


def test_a_weight_that_became_nan_never_reaches_a_checkpoint(data: MakeData, tmp_path: Path) -> None:
    """The loss of that very step is still finite."""
    calls = iter(range(1, 1000))

    def loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(_Poison.apply(student) if next(calls) == 1 + 4 else student, labels)

    graph = Graph({"s": nn.Linear(4, 3)}, [Edge("labels", "s", loss)])
    with pytest.raises(RunError, match=r"a weight of node 's'.* became NaN .* step 4; the checkpoint of step 3 is"):
        fit(graph, data(6), optimizer=SGD, epochs=1, run=tmp_path, checkpoint_every=1)
    found = _checkpoint.load(tmp_path / "checkpoints")
    assert all(torch.isfinite(tensor).all() for tensor in found["nodes"]["s"].values())


def test_nan_is_found_without_a_run_folder_and_within_an_interval(data: MakeData) -> None:
    graph = Graph({"s": nn.Linear(4, 3)}, [Edge("labels", "s", bomb(1 + 2))])
    with pytest.raises(RunError, match=r"in epoch 1, at or before step 4\. A lower learning rate"):
        fit(graph, data(10), optimizer=SGD, epochs=1, log_every=4)


# monitor, selection, patience


def test_a_loss_to_be_minimised_never_stops_early_while_it_falls(deep: MakeGraph, data: MakeData) -> None:
    metrics = {"loss": says(*[1.0 / i for i in range(1, 9)])["accuracy"]}
    options = {"validation": data(1), "metrics": metrics, "monitor": Monitor("loss"), "patience": 1}
    history = fit(deep(), data(2), optimizer=SGD, epochs=8, **options)
    assert history.stopped is None
    assert history.best_epoch == 8
    assert history.best_value == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("scores", "patience", "stops", "best"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.9], 2, 4, 2),
        ([0.5, 0.4, 0.6, 0.5, 0.7], 2, 5, 5),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 1, 2, 1),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 4, 5, 1),
        ([0.5, 0.5, 0.5, 0.5, 0.5], None, 5, 1),
        ([float("nan"), 0.1, 0.2, float("nan"), 0.3], 2, 5, 5),
    ],
)
def test_when_a_run_stops_and_which_epoch_is_best(
    scores: list[float], patience: int | None, stops: int, best: int, deep: MakeGraph, data: MakeData
) -> None:
    history = fit(
        deep(), data(2), optimizer=SGD, epochs=5, validation=data(1), metrics=says(*scores), patience=patience
    )
    assert len(history.records) == stops
    assert history.best_epoch == best
    assert history.best_value == pytest.approx(scores[best - 1])
    assert (history.stopped is not None) == (stops < 5)


def test_min_delta_decides_what_counts_as_improvement(deep: MakeGraph, data: MakeData) -> None:
    options = {"validation": data(1), "monitor": Monitor(min_delta=0.05), "patience": 2}
    history = fit(deep(), data(1), optimizer=SGD, epochs=6, metrics=says(0.5, 0.51, 0.52, 0.9), **options)
    assert history.stopped == "no improvement of accuracy in 2 epochs"
    assert history.best_epoch == 3  # the best is the best, however little it is better


def test_best_and_last_weights(deep: MakeGraph, data: MakeData) -> None:
    at_epoch: list[dict[str, Tensor]] = []
    for select, epoch in (("best", 2), ("last", 4)):
        graph = deep()
        at_epoch.clear()
        history = fit(
            graph,
            data(3),
            optimizer=ADAM,
            epochs=4,
            validation=data(1),
            metrics=says(0.1, 0.9, 0.9, 0.2),
            select=select,  # type: ignore[arg-type]
            callbacks=[On("epoch", lambda _, graph=graph: at_epoch.append(state(graph)))],
        )
        assert history.best_epoch == 2
        assert same(history.best_weights["student"], at_epoch[1])
        assert same(state(graph), at_epoch[epoch - 1])
        assert not same(at_epoch[1], at_epoch[3])


def test_the_best_node_of_several(data: MakeData) -> None:
    def make() -> Graph:
        torch.manual_seed(0)
        edges = [Edge("labels", name, F.cross_entropy) for name in ("a", "b")]
        return Graph({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, edges)

    metrics = {"a": says(0.5, 0.2, 0.6), "b": says(0.3, 0.8, 0.1)}
    for node, best in {"": ("a", 3, 0.6), "b": ("b", 2, 0.8), "*": ("b", 2, 0.8)}.items():
        metrics = {"a": says(0.5, 0.2, 0.6), "b": says(0.3, 0.8, 0.1)}
        options = {"validation": data(1), "metrics": metrics, "monitor": Monitor(node=node)}
        history = fit(make(), data(1), optimizer=SGD, epochs=3, **options)
        assert (history.best_node, history.best_epoch, history.best_value) == (*best[:2], pytest.approx(best[2]))


def test_validation_never_disturbs_training(deep: MakeGraph, data: MakeData) -> None:
    """Also not through a shuffling loader, dropout, modes, or a metric that draws."""
    rows = [(x, y) for xs, ys in data(3) for x, y in zip(xs, ys, strict=True)]
    train = DataLoader(rows, batch_size=4, shuffle=True)

    def noisy(output: Tensor, labels: Tensor) -> Tensor:
        return torch.rand(len(labels))

    ends = []
    for validation in (None, DataLoader(rows, batch_size=5, shuffle=True), data(2)):
        graph = deep()
        graph.nodes["student"][1].eval()  # fit trains: it sets the modes itself, once per epoch
        torch.manual_seed(11)
        fit(graph, train, optimizer=ADAM, epochs=3, validation=validation, metrics={"accuracy": noisy})
        ends.append((state(graph), torch.get_rng_state()))
    for end, stream in ends[1:]:
        assert same(end, ends[0][0])
        assert torch.equal(stream, ends[0][1])


def test_the_first_batch_is_not_taken_from_the_streams(deep: MakeGraph, data: MakeData) -> None:
    """Building draws nothing: the order is that of the same loader in a loop by hand."""
    rows = [(x, y) for xs, ys in data(3) for x, y in zip(xs, ys, strict=True)]
    for own in (False, True):
        orders: list[list[Any]] = [[], []]

        def loader(own: bool = own) -> DataLoader:
            return DataLoader(rows, 4, shuffle=True, generator=torch.Generator().manual_seed(5) if own else None)

        graph = deep()
        graph.nodes["teacher"].register_forward_pre_hook(lambda _, x, seen=orders[0]: seen.append(x[0].tolist()))
        torch.manual_seed(11)
        fit(graph, loader(), optimizer=SGD, epochs=1)
        torch.manual_seed(11)
        orders[1] = [x.tolist() for x, _ in loader()]
        assert orders[0][1:] == orders[1]


# moving averages


def test_the_moving_average_by_hand(deep: MakeGraph, data: MakeData) -> None:
    graph, steps = deep(), []
    first = state(graph)
    callbacks = [On("step", lambda _: steps.append(state(graph)))]
    validation = data(2, seed=5)
    history = fit(graph, data(3), optimizer=ADAM, epochs=2, ema=0.75, callbacks=callbacks, validation=validation)
    average = {name: value.double() for name, value in first.items()}
    for step in steps:
        for name, value in step.items():
            kept = 0.75 if name.endswith(("weight", "bias")) else 0.0  # statistics are copied
            average[name] = kept * average[name] + (1 - kept) * value.double()
    for name, value in state(graph).items():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
    # and it is what was validated
    assert evaluate(graph, validation) == history.records[-1]["validation"]
    assert not same(state(graph), steps[-1])


# precision


def test_mixed_precision_trains_with_losses_in_full_precision(data: MakeData) -> None:
    dtypes: set[torch.dtype] = set()
    autocast: set[bool] = set()

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        dtypes.update((student.dtype, teacher.dtype))
        autocast.add(torch.is_autocast_enabled("cpu"))
        return (student - teacher).square().mean(1)

    torch.manual_seed(0)
    inside: set[torch.dtype] = set()
    graph = Graph({"t": freeze(network(16)), "s": network()}, [Edge("t", "s", loss)])
    graph.nodes["s"][0].register_forward_hook(lambda *args: inside.add(args[2].dtype))
    history = fit(graph, data(6, size=16), optimizer=ADAM, epochs=10, precision="bf16-mixed")
    losses = history.column("train.loss")
    assert losses[-1] < losses[0]
    assert dtypes == {torch.float32}
    assert autocast == {False}
    assert torch.bfloat16 in inside
    assert all(p.dtype == torch.float32 for p in graph.parameters())


def scaled(scaler: Any) -> Any:
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))


def test_a_loss_scale_serves_several_optimisers_and_closed_edges(data: MakeData) -> None:
    torch.manual_seed(0)
    gate = gates.Between(0.4, 0.6)
    edges = [Edge("labels", "a", F.cross_entropy, gate), Edge("labels", "b", F.cross_entropy, gates.Between(0.4, 1))]
    graph = Graph({"a": network(), "b": network()}, edges)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    before = state(graph, "a")
    options = {"fabric": scaled(scaler), "clip_norm": 1.0, "epochs": 2}
    fit(graph, data(5), optimizer={"a": SGD, "b": ADAM}, **options)
    # progress i / 9: closed at steps 1 to 4, one node live at 5 and 6, both there, one until 10
    assert scaler.get_scale() == 8.0 * 2 ** (6 // 2)
    assert not same(state(graph, "a"), before)


def test_an_overflow_skips_the_step_of_its_optimiser_only(data: MakeData) -> None:
    torch.manual_seed(0)
    calls = iter(range(100))

    def explodes(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(_Poison.apply(student) if next(calls) == 2 else student, labels)

    graph = Graph(
        {n: nn.Linear(4, 3) for n in "ab"}, [Edge("labels", "a", explodes), Edge("labels", "b", F.cross_entropy)]
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    seen: list[tuple[float, Tensor, Tensor]] = []

    def note(_: Any) -> None:
        seen.append((scaler.get_scale(), state(graph, "a")["weight"], state(graph, "b")["weight"]))

    callbacks = [On("step", note)]
    fit(graph, data(3), optimizer={"a": SGD, "b": SGD}, epochs=1, fabric=scaled(scaler), callbacks=callbacks)
    assert [scale for scale, _, _ in seen] == [8.0, 4.0, 4.0]
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][2], seen[1][2])
    assert not torch.equal(seen[1][1], seen[2][1])


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch warns itself
def test_a_compiled_graph_trains_like_a_plain_one(data: MakeData) -> None:
    ends = []
    for compile_ in (False, True):
        torch.manual_seed(0)
        nodes = {"t": freeze(nn.Linear(4, 3)), "s": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))}
        edges = [Edge("labels", "s", F.cross_entropy, gates.Linear(1, 0)), Edge("t", "s", F.mse_loss)]
        graph = Graph(nodes, edges)
        history = fit(graph, data(3), optimizer=SGD, epochs=2, compile=compile_, validation=data(2))
        ends.append((state(graph, "s"), history.column("train.loss")))
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-5)
    for name, value in ends[0][0].items():
        torch.testing.assert_close(value, ends[1][0][name], rtol=1e-4, atol=1e-5)


# run folders


def test_a_checkpoint_holds_the_student_its_optimiser_and_no_teacher(
    deep: MakeGraph, data: MakeData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    graph = Graph(
        {"teacher": freeze(nn.Linear(4, 200_000)), "student": nn.Linear(4, 1000)},
        [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", lambda s, t: s.mean(1) - t.mean(1))],
    )
    fit(graph, data(2), optimizer=ADAM, epochs=3, run=tmp_path)
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [folder.name for folder in kept] == ["000000004", "000000006"]
    for folder in kept:
        assert sorted(path.name for path in folder.iterdir()) == ["state.json", "tensors.safetensors"]
        student = 4 * 5 * 1000  # bytes
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert 3 * student < size < 3 * student + 60_000  # and two moments; the rest is random streams
        assert not any("teacher" in name for name in load_file(folder / "tensors.safetensors"))


def test_a_folder_with_a_run_is_not_overwritten(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    fit(deep(), data(2), optimizer=SGD, epochs=1, run=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*")}
    with pytest.raises(UsageError, match="already holds a run: resume=True goes on with it, or choose another folder"):
        fit(deep(), data(2), optimizer=SGD, epochs=1, run=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_run_in_the_folder_is_named(deep: MakeGraph, linear: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    fit(deep(), data(2), optimizer=SGD, epochs=2, run=tmp_path)
    teacher, student = freeze(network(16)), network(9)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 3}, "epochs is 2 there and 3 here"),
        ({"train": data(3)}, "steps_per_epoch is 2 there and 3 here"),
        ({"accumulate": 2}, "accumulate is 1 there and 2 here"),
        ({"ema": 0.5}, "ema is None there and 0.5 here"),
        ({"graph": deep(0.5)}, r"edges 2 is 'teacher .*x 1.*' there and 'teacher .*x 0.5.*' here"),
        ({"graph": deep(teacher=teacher)}, r"frozen\.teacher is '[0-9a-f.]+' there"),
        ({"graph": deep(student=student)}, r"parameters\.student is 83 there and 93 here"),
        ({"optimizer": ADAM}, r"optimizers\.all\.kind is 'SGD' there and 'Adam' here"),
        ({"optimizer": {"student": SGD}}, r"optimizers\.student\.kind is 'nothing' there and 'SGD' here"),
    ]
    for options, message in cases:
        with pytest.raises(RunError, match=message) as caught:
            fit(
                **{"graph": deep(), "train": data(2), "optimizer": SGD, "epochs": 2, **options},
                run=tmp_path,
                resume=True,
            )
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_does_not_fit_otherwise_is_one_line_too(data: MakeData, tmp_path: Path) -> None:
    def graph(*layers: nn.Module) -> Graph:
        return Graph({"s": nn.Sequential(*layers)}, [Edge("labels", "s", F.cross_entropy)])

    fit(graph(nn.Linear(4, 6), nn.Linear(6, 3, bias=False)), data(2), optimizer=SGD, epochs=1, run=tmp_path)
    other = graph(nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False))  # as many weights
    with pytest.raises(RunError, match=r"checkpoint does not fit this one .*size mismatch") as caught:
        fit(other, data(2), optimizer=SGD, epochs=1, run=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_gates_that_are_functions_are_recognised_in_another_process(
    deep: MakeGraph, data: MakeData, tmp_path: Path
) -> None:
    """Whose addresses differ."""
    for _ in range(2):
        function: Any = eval("lambda progress: 1.0 - progress", {})
        fit(deep(function), data(2), optimizer=SGD, epochs=1, run=tmp_path, resume=True)


def test_resume_starts_where_there_is_nothing_yet(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    run = tmp_path / "new" / "folder"
    assert len(fit(deep(), data(2), optimizer=SGD, epochs=2, run=run, resume=True).records) == 2
    with pytest.raises(UsageError, match="no previous checkpoint"):
        fit(deep(), data(2), optimizer=SGD, epochs=2, run=tmp_path / "other", resume="previous")


def test_what_a_killed_run_would_have_dropped_is_dropped_when_it_goes_on(
    deep: MakeGraph, data: MakeData, tmp_path: Path
) -> None:
    kept = tmp_path / "checkpoints"
    fit(deep(), data(2), optimizer=SGD, epochs=2, run=tmp_path)
    files = sorted(kept.rglob("*"))
    shutil.copytree(max(kept.iterdir()), kept / "000000001")
    (kept / ".writing-dead").mkdir()
    with pytest.raises(RunError):  # whoever asks for something else changes nothing
        fit(deep(), data(2), optimizer=ADAM, epochs=2, run=tmp_path, resume=True)
    assert len(list(kept.iterdir())) == 4
    fit(deep(), data(2), optimizer=SGD, epochs=2, run=tmp_path, resume=True)
    assert sorted(kept.rglob("*")) == files


def test_the_previous_checkpoint_leads_to_the_same_bits(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": ADAM, "epochs": 3, "run": tmp_path, "checkpoint_every": 2}
    graph = deep()
    torch.manual_seed(5)
    history = fit(graph, data(5), **options)
    end = state(graph)
    newest = max((tmp_path / "checkpoints").iterdir()) / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"damaged .*the previous one is step 14: .*resume='previous'"):
        fit(deep(), data(5), resume=True, **options)
    graph = deep()
    again = fit(graph, data(5), resume="previous", **options)
    assert same(state(graph), end)
    assert without_seconds(again) == without_seconds(history)
    # and the damaged one was replaced
    assert len(fit(deep(), data(5), resume=True, **options).records) == 3


def test_a_start_callback_that_draws_does_not_change_a_resumed_run(
    deep: MakeGraph, data: MakeData, tmp_path: Path
) -> None:
    callbacks = [On("start", lambda _: torch.rand(7))]
    ends = []
    for run, stop in ((tmp_path / "a", 99), (tmp_path / "b", 4), (tmp_path / "b", 99)):
        graph = deep()
        torch.manual_seed(5)
        options = {"optimizer": ADAM, "epochs": 3, "run": run, "checkpoint_every": 1, "resume": True}
        stopper = On("step", lambda _: 1 / 0, at=[stop])
        try:
            fit(graph, data(3), callbacks=[*callbacks, stopper], **options)
        except ZeroDivisionError:
            continue
        ends.append(state(graph))
    assert same(*ends)


def test_unusable_folders(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for run in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/nothing")):
        with pytest.raises(RunError, match=f"cannot use folder {run}"):
            fit(deep(), data(1), optimizer=SGD, epochs=1, run=run)


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser may write everywhere")
def test_a_folder_without_write_permission(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunError, match=r"cannot use folder .*Permission denied"):
        fit(deep(), data(1), optimizer=SGD, epochs=1, run=tmp_path)


def test_a_disk_that_fills_up_during_a_run(deep: MakeGraph, data: MakeData, tmp_path: Path) -> None:
    """On a real file system of one megabyte, with everything that a run writes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only a superuser can mount a small file system")
    ballast = tmp_path / "ballast"
    try:

        def fill(_: Any) -> None:
            size = 2**16
            with ballast.open("wb", buffering=0) as file:
                while size:
                    try:
                        file.write(b"x" * size)
                    except OSError:
                        size //= 2

        options: dict[str, Any] = {"optimizer": ADAM, "epochs": 4, "run": tmp_path / "run", "log_every": 1}
        graph = deep()
        torch.manual_seed(5)
        with pytest.raises(RunError, match="No space left on device") as caught:
            fit(graph, data(4), callbacks=[On("step", fill, at=[9])], **options)
        assert "\n" not in str(caught.value)
        ballast.unlink()
        graph = deep()
        fit(graph, data(4), resume=True, **options)
        whole = deep()
        torch.manual_seed(5)
        fit(whole, data(4), **{**options, "run": None})
        assert same(state(graph), state(whole))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_two_processes_do_not_share_a_folder(
    deep: MakeGraph, data: MakeData, tmp_path: Path, killable: Request
) -> None:
    answers = []

    def ask(_: Any) -> None:
        answers.append(killable(case="loader", run=str(tmp_path)))

    fit(deep(), data(2), optimizer=SGD, epochs=1, run=tmp_path, callbacks=[On("step", ask, once=True)])
    assert answers[0]["error"] == "RunError"
    assert "in use by another live process" in answers[0]["message"]


# Ctrl-C


@pytest.mark.parametrize("at", [1, 6, 30])  # in the middle of an epoch, at its last step, at the last step of all
def test_ctrl_c_ends_after_the_step_and_can_be_resumed(at: int, killable: Request, tmp_path: Path) -> None:
    end = killable(case="loader", run=str(tmp_path), end={"interrupt": at})
    assert end == {
        "status": 0,
        "error": "KeyboardInterrupt",
        "message": f"stopped after step {at} of 30; resume=True goes on here",
    }
    assert _checkpoint.steps(tmp_path / "checkpoints")[-1] == at
    resumed, whole = killable(case="loader", run=str(tmp_path)), killable(case="loader")
    assert resumed == whole


def test_ctrl_c_without_a_folder(deep: MakeGraph, data: MakeData) -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[int] = []

    def interrupt(training: Any) -> None:
        steps.append(training.step)
        if training.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 3 of 10$"):
        fit(deep(), data(5), optimizer=SGD, epochs=2, callbacks=[On("step", interrupt)])
    assert steps == [1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once(deep: MakeGraph, data: MakeData) -> None:
    def twice(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not reached")

    with pytest.raises(KeyboardInterrupt):
        fit(deep(), data(5), optimizer=SGD, epochs=2, callbacks=[On("step", twice)])


def test_a_thread_may_train(deep: MakeGraph, data: MakeData) -> None:
    """Where signals cannot be caught."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(fit(deep(), data(2), optimizer=SGD, epochs=2).records)))
    thread.start()
    thread.join(60)
    assert found == [2]


def test_short_epochs_share_a_checkpoint_and_the_last_one_has_its_own(
    deep: MakeGraph, data: MakeData, tmp_path: Path
) -> None:
    written: list[int] = []
    note = On("checkpoint", lambda training: written.append(training.epoch))
    options: dict[str, Any] = {"optimizer": SGD, "epochs": 4, "callbacks": [note], "tensorboard": False}
    fit(deep(), data(3), run=tmp_path / "each", **options)
    assert written == [2, 3, 4, 5]  # the epoch that comes next
    written.clear()
    fit(deep(), data(3), run=tmp_path / "rare", checkpoint_seconds=1000.0, **options)
    assert written == [5]


def test_alternating_updates_are_those_of_a_loop_by_hand(data: MakeData) -> None:
    """Algorithm 1 of deep mutual learning: each node learns from what the others say after their turn."""

    def nodes() -> dict[str, nn.Module]:
        torch.manual_seed(0)
        return {n: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)) for n in "ab"}

    train = data(3)
    one = nodes()
    edges = [Edge("labels", n, F.cross_entropy) for n in "ab"] + [
        Edge("b", "a", F.mse_loss),
        Edge("a", "b", F.mse_loss),
    ]
    each = {"a": SGD, "b": partial(torch.optim.SGD, lr=0.2, momentum=0.9)}
    history = fit(Graph(one, edges), train, optimizer=each, epochs=2, update="alternating", progress=False)
    assert history.backwards == dict.fromkeys("ab", history.samples)
    assert history.forwards == dict.fromkeys("ab", 2 * history.samples)

    other = nodes()
    optimizers = {n: each[n](list(other[n].parameters())) for n in "ab"}
    for inputs, labels in train * 2:
        for name, peer in (("a", "b"), ("b", "a")):
            statistics = copy.deepcopy(other[peer].state_dict())
            with torch.no_grad():
                teacher = other[peer](inputs)
            other[peer].load_state_dict(statistics)  # being asked is no training
            optimizers[name].zero_grad()
            student = other[name](inputs)
            (F.cross_entropy(student, labels) + F.mse_loss(student, teacher)).backward()
            optimizers[name].step()
    for n in "ab":
        assert same(one[n].state_dict(), other[n].state_dict())


def test_alternating_differs_from_simultaneous_and_resumes(data: MakeData, tmp_path: Path) -> None:
    def train(update: Any, **options: Any) -> Graph:
        torch.manual_seed(0)
        edges = [Edge("labels", n, F.cross_entropy) for n in "ab"]
        edges += [Edge("b", "a", F.mse_loss), Edge("a", "b", F.mse_loss)]
        graph = Graph({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, edges)
        fit(graph, data(4), optimizer=dict.fromkeys("ab", ADAM), epochs=2, update=update, progress=False, **options)
        return graph

    whole = train("alternating")
    assert not same(state(whole, "b"), state(train("simultaneous"), "b"))

    def stop(training: Any) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train("alternating", run=tmp_path, checkpoint_every=1, callbacks=[On("step", stop, at=[6])])
    resumed = train("alternating", run=tmp_path, checkpoint_every=1, resume=True)
    assert same(state(resumed, "a"), state(whole, "a"))
    assert same(state(resumed, "b"), state(whole, "b"))
    with pytest.raises(RunError, match="turns"):
        train("simultaneous", run=tmp_path, resume=True)


# layout


def images(batches: int, size: int = 8, channels: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, channels, 8, 8, generator=generator), torch.randint(0, 3, (size,), generator=generator))
        for _ in range(batches)
    ]


def convolutions(channels: int = 3) -> Graph:
    """Two convolutional networks, of which one teaches, and the layout of the maps between them."""

    def network() -> nn.Sequential:
        stem = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(stem, nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(6, 3))

    torch.manual_seed(0)
    edges = [
        Edge("labels", "s", F.cross_entropy),
        Edge("t", "s", F.mse_loss),
        Edge("t.0", "s.0", F.mse_loss, adapter=nn.Conv2d(8, 8, 1)),
    ]
    return Graph({"t": freeze(network()), "s": network()}, edges)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_are_the_same_numbers_in_another_order(tmp_path: Path, channels: int) -> None:
    plain, other = convolutions(channels), convolutions(channels)
    for graph, last in ((plain, False), (other, True)):
        layouts: set[bool] = set()
        for node in graph.nodes.values():
            node[0].register_forward_hook(
                lambda _, __, out, into=layouts: into.add(out.is_contiguous(memory_format=torch.channels_last))
            )
        history = fit(
            graph,
            images(4, channels=channels),
            optimizer=partial(SGD, lr=0.01, momentum=0.9),
            epochs=2,
            channels_last=last,
            validation=images(1, channels=channels),
            run=tmp_path / str(last),
        )
        assert layouts == {last}
        assert history.best_epoch
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert state_hash(other.nodes["t"]) == state_hash(plain.nodes["t"])


def test_channels_last_are_resumed_exactly(tmp_path: Path) -> None:
    def train(**options: Any) -> dict[str, Tensor]:
        graph = convolutions()
        fit(graph, images(4), optimizer=partial(SGD, lr=0.01, momentum=0.9), epochs=3, channels_last=True, **options)
        return graph.state_dict()

    def stop(_: Any) -> None:
        raise RuntimeError("stop")

    whole = train()
    with pytest.raises(RuntimeError, match="stop"):
        train(run=tmp_path, checkpoint_every=1, callbacks=[On("step", stop, at=[6])])
    assert same(train(run=tmp_path, resume=True), whole)


def test_nothing_is_said_about_a_precision_that_was_asked_for(linear: MakeGraph, data: MakeData, capfd) -> None:
    fit(linear(), data(1), optimizer=SGD, epochs=1, precision="bf16-mixed", progress=False)
    assert capfd.readouterr().err == ""
