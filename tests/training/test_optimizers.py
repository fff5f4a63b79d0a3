"""Optimisers: one for all or one each, exact learning rates, and nothing touched that has nothing to learn."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, MultiStepLR, ReduceLROnPlateau, SequentialLR

from mentorch import Edge, Graph, On, UsageError, fit, freeze, gates
from mentorch.training import Plateau
from mentorch.training._optimizers import Steering, clip

Data = list[tuple[Tensor, Tensor]]
MakeData = Callable[..., Data]
MakeGraph = Callable[..., Graph]

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.01)


class Scale(nn.Module):
    """An adapter with a weight that exists after the first batch."""

    def build(self, student: Tensor, *_: Tensor) -> None:
        self.weight = nn.Parameter(torch.ones(student.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def pair(gate: Any = 1.0, adapter: bool = False, **options: Any) -> Graph:
    """Two students that learn from labels and from each other."""
    torch.manual_seed(0)
    edges = [
        Edge("labels", "a", F.cross_entropy),
        Edge("labels", "b", F.cross_entropy, gate),
        Edge("b", "a", F.mse_loss, 0.5, adapter=Scale() if adapter else None),
        Edge("a", "b", F.mse_loss, gate if callable(gate) or not gate else 0.5),
    ]
    return Graph({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, edges, **options)


def weights(graph: Graph) -> list[Tensor]:
    return [p.detach().clone() for p in graph.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def run(graph: Graph, train: Data, **options: Any) -> list[Tensor]:
    fit(graph, train, **{"epochs": 2, "optimizer": SGD, **options})
    return weights(graph)


def rates(graph: Graph, train: Data, name: str = "all", **options: Any) -> list[float]:
    """The learning rate of every step."""
    seen: list[float] = []

    def note(training: Any) -> None:
        seen.append(training.steering.optimizers[name].param_groups[0]["lr"])

    fit(graph, train, callbacks=[On("step", note)], **{"epochs": 5, "optimizer": partial(SGD, lr=1.0), **options})
    return seen


@pytest.mark.parametrize("make", [partial(SGD, momentum=0.9, weight_decay=0.1), partial(ADAM, weight_decay=0.1)])
def test_one_for_all_equals_one_each_and_factories_equal_objects(make: Any, data: MakeData) -> None:
    train = data(5)
    expected = run(pair(adapter=True), train, optimizer=make)
    assert not same(expected, weights(pair(adapter=True, example=train[0])))
    assert same(run(pair(adapter=True), train, optimizer={"a": make, "b": make}), expected)
    graph = pair(adapter=True, example=train[0])
    assert same(run(graph, train, optimizer=make(graph.parameters())), expected)
    graph = pair(adapter=True, example=train[0])
    each = {"b": make(graph.parameters_of("b")), "a": make}
    assert same(run(graph, train, optimizer=each), expected)


def test_each_node_has_its_own(data: MakeData) -> None:
    train = data(3)

    def two() -> Graph:
        torch.manual_seed(0)
        return Graph({n: nn.Linear(4, 3) for n in "ab"}, [Edge("labels", n, F.cross_entropy) for n in "ab"])

    both = run(two(), train, optimizer={"a": partial(SGD, lr=0.5), "b": ADAM})
    alone = run(two(), train, optimizer=partial(SGD, lr=0.5))
    assert same(both[:2], alone[:2])
    assert not same(both[2:], alone[2:])


def test_adapters_learn_with_their_node(data: MakeData) -> None:
    graph = pair(adapter=True)
    run(graph, data(3))
    (scale,) = [module for module in graph.modules() if isinstance(module, Scale)]
    assert not torch.equal(scale.weight, torch.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: {"a": SGD}, "node 'b' learns but has no optimiser .*have: a"),
        (lambda g: {"a": SGD, "b": SGD, "bb": SGD}, "unknown learning node in optimizer 'bb': did you mean 'b'"),
        (lambda g: torch.optim.SGD(g.nodes["a"].parameters(), lr=0.1), "weights of node 'b'.* in no optimiser"),
        (lambda g: {n: torch.optim.SGD(g.parameters(), lr=0.1) for n in "ab"}, "a parameter is in two optimisers"),
    ],
)
def test_mistaken_optimisers(make: Callable[[Graph], Any], message: str, data: MakeData) -> None:
    graph = pair()
    before = weights(graph)
    with pytest.raises(UsageError, match=message):
        run(graph, data(2), optimizer=make(graph))
    assert same(weights(graph), before)


def test_a_teacher_has_no_optimiser(linear: MakeGraph, data: MakeData) -> None:
    with pytest.raises(UsageError, match="unknown learning node in optimizer 'teacher'"):
        run(linear(), data(2), optimizer={"teacher": SGD, "student": SGD})


def test_an_optimiser_from_before_the_adapters_were_built(data: MakeData) -> None:
    graph = pair(adapter=True)
    with pytest.raises(UsageError, match=r"node 'a', or adapters of its edges.*give the graph an example="):
        run(graph, data(2), optimizer=SGD(graph.parameters()))


def test_the_teachers_weights_in_the_users_optimiser_do_no_harm(linear: MakeGraph, data: MakeData) -> None:
    graph = linear()
    before = copy.deepcopy(graph.nodes["teacher"].state_dict())
    optimizer = torch.optim.AdamW(graph.parameters(), lr=0.1, weight_decay=0.5)
    run(graph, data(3), optimizer=optimizer)
    assert all(torch.equal(value, before[name]) for name, value in graph.nodes["teacher"].state_dict().items())
    assert not any(p in optimizer.state for p in graph.nodes["teacher"].parameters())


def progress(steps: int) -> list[float]:
    return [i / (steps - 1) for i in range(steps)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, [1.0] * 20),
        (gates.Steps((0.5, 0.75)), [1.0] * 10 + [0.1] * 5 + [0.01] * 5),
        (gates.Cosine(), [(1 + math.cos(math.pi * p)) / 2 for p in progress(20)]),
        (gates.Warmup(0.2), [min(p / 0.2, 1.0) for p in progress(20)]),
        ([gates.Warmup(0.2), gates.Linear(1.0, 0.0)], [min(p / 0.2, 1.0) * (1 - p) for p in progress(20)]),
        (lambda p: 0.25, [0.25] * 20),
        ({"all": gates.Linear(1.0, 0.5)}, [1 - p / 2 for p in progress(20)]),
    ],
)
def test_rates_of_a_run_over_five_epochs(
    schedule: Any, expected: list[float], linear: MakeGraph, data: MakeData
) -> None:
    assert rates(linear(), data(4), schedule=schedule) == pytest.approx(expected, abs=1e-12)


def test_schedules_reach_their_ends_exactly_also_with_accumulation(linear: MakeGraph, data: MakeData) -> None:
    seen = rates(linear(), data(5), schedule=gates.Linear(1.0, 0.0), accumulate=2, epochs=3)
    assert len(seen) == 9
    assert seen[0] == 1.0
    assert seen[-1] == 0.0


def test_a_schedule_per_optimiser(data: MakeData) -> None:
    options = {"optimizer": {"a": partial(SGD, lr=1.0), "b": partial(SGD, lr=0.5)}, "schedule": {"b": gates.Cosine()}}
    assert rates(pair(), data(2), "a", **options) == [1.0] * 10
    expected = [0.25 * (1 + math.cos(math.pi * p)) for p in progress(10)]
    assert rates(pair(), data(2), "b", **options) == pytest.approx(expected, abs=1e-12)
    # and one value for all
    assert rates(pair(), data(2), "b", **{**options, "schedule": gates.Cosine()}) == pytest.approx(expected, abs=1e-12)


def test_every_parameter_group_keeps_its_own_base_rate(linear: MakeGraph, data: MakeData) -> None:
    graph = linear()
    weight, bias = graph.nodes["student"].parameters()
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 1.0}, {"params": [bias], "lr": 0.5}])
    seen: list[list[float]] = []
    note = On("end", lambda training: seen.append([group["lr"] for group in optimizer.param_groups]))
    for _ in range(2):  # a second run starts from the base again, not from where the first one ended
        run(graph, data(2), optimizer=optimizer, schedule=gates.Linear(1.0, 0.5), callbacks=[note])
        assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]
    assert seen == [[0.5, 0.25]] * 2


def test_an_optimiser_has_its_rate_back_after_a_run_and_what_is_set_then_counts(
    linear: MakeGraph, data: MakeData, tmp_path: Any
) -> None:
    graph = linear()
    optimizer = SGD(graph.nodes["student"].parameters(), lr=0.1)
    rates(graph, data(2), optimizer=optimizer, schedule=gates.Cosine())
    assert rates(graph, data(2), optimizer=optimizer) == [0.1] * 10
    optimizer.param_groups[0]["lr"] = 0.001
    assert rates(graph, data(2), optimizer=optimizer, schedule=gates.Linear(1.0, 0.5))[0] == 0.001
    options = {"optimizer": optimizer, "schedule": gates.Cosine(), "epochs": 2, "run": tmp_path}
    with pytest.raises(ZeroDivisionError):
        fit(graph, data(2), **options, callbacks=[On("step", lambda _: 1 / 0, at=[3])])
    assert optimizer.param_groups[0]["lr"] == 0.001
    fit(graph, data(2), **options, resume=True)
    scheduler = MultiStepLR(optimizer, [1])
    assert rates(graph, data(1), optimizer=optimizer, schedule=scheduler)[0] == 0.001
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0001)  # is the scheduler's


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda o: MultiStepLR(o, [2, 4]), [1.0, 1.0, 0.1, 0.1, 0.01]),
        (lambda o: CosineAnnealingLR(o, 5), [(1 + math.cos(math.pi * e / 5)) / 2 for e in range(5)]),
        (lambda o: [LambdaLR(o, lambda e: 0.5**e)], [0.5**e for e in range(5)]),
        (
            lambda o: SequentialLR(o, [LinearLR(o, 0.5, total_iters=2), MultiStepLR(o, [1])], milestones=[3]),
            [0.5, 0.75, 1.0, 1.0, 0.1],
        ),
    ],
)
def test_schedulers_of_torch_are_stepped_per_epoch(
    make: Any, expected: list[float], linear: MakeGraph, data: MakeData, tmp_path: Any
) -> None:
    def options() -> dict[str, Any]:
        graph = linear()
        optimizer = torch.optim.SGD(graph.nodes["student"].parameters(), lr=1.0)
        return {"graph": graph, "train": data(3), "optimizer": optimizer, "schedule": make(optimizer)}

    each = [rate for rate in expected for _ in range(3)]
    assert rates(**options()) == pytest.approx(each)
    # and their position is part of a checkpoint
    with pytest.raises(ZeroDivisionError):
        fit(**options(), epochs=5, run=tmp_path, callbacks=[On("step", lambda _: 1 / 0, at=[8])])
    assert rates(**options(), run=tmp_path, resume=True) == pytest.approx(each[6:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: ReduceLROnPlateau(o), "pass mentorch.training.Plateau instead"),
        (lambda o: "cosine", "a schedule is a function of progress.*got 'cosine'"),
        (lambda o: [gates.Warmup(0.1), MultiStepLR(o, [2])], "MultiStepLR sets the learning rate itself"),
        (lambda o: {"al": gates.Cosine()}, "unknown optimiser in schedule 'al': did you mean 'all'"),
        (lambda o: MultiStepLR(SGD([nn.Parameter(torch.ones(1))]), [2]), "made for another optimiser"),
    ],
)
def test_mistaken_schedules_are_refused_before_training(
    make: Any, message: str, linear: MakeGraph, data: MakeData
) -> None:
    graph = linear()
    before = weights(graph)
    optimizer = SGD(graph.nodes["student"].parameters())
    with pytest.raises(UsageError, match=message):
        run(graph, data(2), optimizer=optimizer, schedule=make(optimizer), validation=data(1))
    assert same(weights(graph), before)


class Scores:
    """A data set whose accuracy follows a list, after it was tried: the metric is told what to say."""

    def __init__(self, scores: list[float]):
        self.scores = iter([0.0, *scores])

    def metric(self, output: Tensor, labels: Tensor) -> Tensor:
        return torch.full((len(labels),), next(self.scores))


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=3, max_size=12),
    patience=st.integers(0, 3),
    factor=st.sampled_from([0.5, 0.1]),
)
def test_plateau_equals_torch(scores: list[float], patience: int, factor: float) -> None:
    graph = pair()
    steering = Steering(graph, SGD, Plateau(factor, patience, minimum=1e-4))
    optimizer = SGD([nn.Parameter(torch.ones(1))])
    other = ReduceLROnPlateau(
        optimizer, mode="max", factor=factor, patience=patience, threshold=0.0, min_lr=1e-4, eps=0.0
    )
    for score in scores:
        steering.end_epoch(score)
        other.step(score)
        steering.set_rates(0.0)
        assert steering.rates()["all"] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_plateau_in_a_run_together_with_a_gate(linear: MakeGraph, data: MakeData) -> None:
    says = Scores([0.5, 0.5, 0.6, 0.6, 0.6])
    schedule = [gates.Linear(1.0, 0.5), Plateau(factor=0.5, patience=0)]
    seen = rates(linear(), data(1), schedule=schedule, validation=data(1), metrics={"accuracy": says.metric})
    gate = [1 - p / 2 for p in progress(5)]
    assert seen == pytest.approx([g * f for g, f in zip(gate, [1.0, 1.0, 0.5, 0.5, 0.25], strict=True)])


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"factor": 0.0}, {"patience": -1}])
def test_mistaken_plateaus(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Plateau needs"):
        Plateau(**options)


def test_momentum_acts(linear: MakeGraph, data: MakeData) -> None:
    found: list[Any] = []
    callbacks = [On("end", lambda t: found.extend(t.steering.optimizers["all"].state.values()))]
    run(linear(), data(2), optimizer=partial(SGD, momentum=0.9), epochs=1, callbacks=callbacks)
    assert len(found) == 2
    assert all(state["momentum_buffer"].abs().sum() > 0 for state in found)


@pytest.mark.parametrize("batches", [4, 5, 3])
def test_accumulation_equals_a_larger_batch(batches: int, linear: MakeGraph, data: MakeData) -> None:
    train = data(batches)
    large = [
        (torch.cat([x for x, _ in train[i : i + 2]]), torch.cat([y for _, y in train[i : i + 2]]))
        for i in range(0, batches, 2)
    ]
    options = {"optimizer": partial(SGD, momentum=0.9), "schedule": gates.Cosine(), "epochs": 3}
    for small, big in zip(run(linear(), train, accumulate=2, **options), run(linear(), large, **options), strict=True):
        torch.testing.assert_close(small, big, rtol=1e-5, atol=1e-6)


def test_accumulating_more_than_an_epoch_is_one_step_per_epoch(linear: MakeGraph, data: MakeData) -> None:
    history = fit(linear(), data(3), optimizer=SGD, epochs=2, accumulate=9)
    assert history.column("step") == [1, 2]


@pytest.mark.parametrize(("norm", "value"), [(0.05, None), (None, 0.01), (0.05, 0.01), (1e9, 1e9)])
def test_clipping_is_per_optimiser_and_equals_torch(norm: Any, value: Any, data: MakeData) -> None:
    (batch,) = train = data(1)
    graph = pair()
    got = run(graph, train, optimizer={"a": SGD, "b": SGD}, epochs=1, clip_norm=norm, clip_value=value)
    graph = pair()
    sum(graph(*batch).values()).backward()  # type: ignore[union-attr]
    for name in "ab":
        parameters = list(graph.nodes[name].parameters())
        if norm is not None:
            nn.utils.clip_grad_norm_(parameters, norm)
        if value is not None:
            nn.utils.clip_grad_value_(parameters, value)
    expected = [p.detach() - 0.1 * p.grad for p in graph.parameters() if p.grad is not None]
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("limit", ["clip_norm", "clip_value"])
def test_sparse_gradients_are_not_clipped(limit: str) -> None:
    student = nn.Sequential(nn.EmbeddingBag(10, 4, sparse=True), nn.Linear(4, 3))
    graph = Graph({"s": student}, [Edge("labels", "s", F.cross_entropy)])
    words = [(torch.randint(10, (6, 2)), torch.randint(3, (6,)))]
    with pytest.raises(UsageError, match=r"^sparse gradients cannot be clipped: make embeddings with sparse=False$"):
        fit(graph, words, optimizer=SGD, epochs=1, **{limit: 1.0})
    fit(graph, words, optimizer=SGD, epochs=1)


def test_optimisers_that_fit_cannot_use_are_refused_before_training(
    linear: MakeGraph, data: MakeData, tmp_path: Any
) -> None:
    with pytest.raises(UsageError, match=r"^LBFGS computes the loss anew within a step, which fit does not do"):
        fit(linear(), data(1), optimizer=torch.optim.LBFGS, epochs=1)
    rate = np.float32(0.1)
    fit(linear(), data(1), optimizer=partial(SGD, lr=rate), epochs=1)
    with pytest.raises(UsageError, match=r"^lr of SGD is .*0\.1.*, which a checkpoint cannot hold: pass plain numbers"):
        fit(linear(), data(1), optimizer=partial(SGD, lr=rate), epochs=1, run=tmp_path)
    assert not list(tmp_path.iterdir())


def test_clip_without_limits_does_nothing() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 1e6)
    clip([weight], None, None)
    assert weight.grad.tolist() == [1e6, 1e6]


@pytest.mark.parametrize("make", [partial(SGD, momentum=0.9, weight_decay=0.5), partial(ADAM, weight_decay=0.5)])
@pytest.mark.parametrize("each", [False, True])
def test_a_node_without_live_edges_is_not_touched(make: Any, each: bool, data: MakeData) -> None:
    """Neither by weight decay, nor by momentum from the time when its edges were open."""
    graph, seen = pair(gates.Between(0.0, 0.5)), []
    callbacks = [On("step", lambda t: seen.append((t.step, weights(graph)[2:])))]
    run(graph, data(8), optimizer={"a": make, "b": make} if each else make, epochs=1, callbacks=callbacks)
    moved = [not same(one[1], other[1]) for one, other in itertools.pairwise(seen)]
    assert moved == [True, True, True, False, False, False, False]


def test_all_edges_closed_for_a_while(data: MakeData) -> None:
    graph = Graph({"a": nn.Linear(4, 3)}, [Edge("labels", "a", F.cross_entropy, gates.Between(0.5, 1.0))])
    before, seen = weights(graph), []
    run(graph, data(4), epochs=1, callbacks=[On("step", lambda t: seen.append(same(weights(graph), before)))])
    assert seen == [True, True, False, False]


def test_a_frozen_layer_of_a_learning_node_stays(data: MakeData) -> None:
    graph = Graph(
        {"a": nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 3)), "t": freeze(nn.Linear(4, 3))},
        [Edge("t", "a", F.mse_loss)],
    )
    before = weights(graph)
    after = run(graph, data(2), optimizer=partial(ADAM, weight_decay=1.0))
    assert same(before[:2], after[:2])
    assert not same(before[2:4], after[2:4])


def test_a_node_without_weights_that_may_learn_is_refused() -> None:
    graph = Graph({"a": nn.Linear(4, 3).requires_grad_(False)}, [Edge("labels", "a", F.cross_entropy)])
    with pytest.raises(UsageError, match="node 'a' is taught, but has no weights that may learn"):
        Steering(graph, SGD, None)
