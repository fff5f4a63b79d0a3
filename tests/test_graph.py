"""The graph: what its losses are, what runs for them, and what it refuses."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch import Edge, Graph, RunError, UsageError, freeze, gates, losses

N, D, K = 6, 4, 3


def counted(network: nn.Module) -> list[int]:
    """A list that grows by one entry each time the network runs."""
    runs: list[int] = []
    network.register_forward_pre_hook(lambda module, args: runs.append(1))
    return runs


def linear(outputs: int = K) -> nn.Linear:
    return nn.Linear(D, outputs)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(N, D), torch.randint(0, K, (N,))


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def must_not_run(*tensors: Tensor) -> Tensor:
    raise AssertionError("a closed edge was computed")


# what the losses are


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 1))
def test_losses_are_gate_times_mean_loss(first: float, second: float, progress: float) -> None:
    student, teacher = linear().double(), freeze(linear().double())
    x, y = torch.randn(N, D, dtype=torch.float64), torch.randint(0, K, (N,))
    edges = [
        Edge("labels", "student", F.cross_entropy, gate=first, name="labels"),
        Edge("teacher", "student", per_sample, gate=gates.Linear(second, 1.0), name="teacher"),
        Edge("inputs", "student", lambda z, x: {"size": z.abs(), "sum": (z.sum(1) - x.sum(1)).abs()}, name="own"),
    ]
    losses = Graph({"teacher": teacher, "student": student}, edges)(x, y, progress=progress)
    z, t = student(x), teacher(x)
    ramp = second * (1 - progress) + progress
    expected = {
        "labels": -first * z.log_softmax(1)[torch.arange(N), y].sum() / N,
        "teacher": ramp * ((z - t) ** 2).sum() / N,
        "own/size": z.abs().sum() / (N * K),
        "own/sum": (z.sum(1) - x.sum(1)).abs().sum() / N,
    }
    closed = {name for name, gate in (("labels", first), ("teacher", ramp)) if gate == 0}
    assert list(losses) == [name for name in expected if name not in closed]
    for name, loss in losses.items():
        assert loss.shape == ()
        assert loss.dtype == torch.float64
        torch.testing.assert_close(loss, expected[name], rtol=1e-12, atol=1e-12)


def test_the_loss_gets_the_target_first_then_the_sources_in_order() -> None:
    student, a, b = linear(), freeze(linear()), freeze(linear())
    got: list[tuple[Tensor, ...]] = []

    def loss(*tensors: Tensor) -> Tensor:
        got.append(tensors)
        return tensors[0].sum()

    x, y = batch()
    index = torch.arange(N) + 100
    Graph({"b": b, "a": a, "student": student}, [Edge(("b", "labels", "a", "index", "inputs"), "student", loss)])(
        x, y, index
    )
    (tensors,) = got
    for tensor, expected in zip(tensors, (student(x), b(x), y, a(x), index, x), strict=True):
        assert torch.equal(tensor, expected)
    assert tensors[0].requires_grad
    assert not any(tensor.requires_grad for tensor in tensors[1:])


def test_several_targets_of_one_node_reach_the_loss_as_a_tuple() -> None:
    student, teacher = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), freeze(nn.Linear(3, 2))

    def both(student: tuple[Tensor, Tensor], teacher: Tensor) -> Tensor:
        hidden, output = student
        return hidden.square().sum(1) + (output - teacher).square().sum(1)

    edge = Edge("teacher", ("student.0", "student"), both)
    x = torch.randn(5, 3)
    (loss,) = Graph({"student": student, "teacher": teacher}, [edge])(x).values()
    torch.testing.assert_close(loss, both((student[0](x), student(x)), teacher(x)).mean())
    loss.backward()
    assert all(p.grad is not None for p in student.parameters())
    assert edge.name == "teacher -> student.0, student: both"
    with pytest.raises(UsageError, match="several targets must lie in one node"):
        Graph({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)}, [Edge("inputs", ("a", "b"), both)])


def test_an_edge_without_a_source_regularises() -> None:
    (loss,) = Graph({"student": linear()}, [Edge((), "student", lambda z: z.square().sum(1))])(batch()[0]).values()
    assert loss > 0


def test_labels_may_be_a_mapping() -> None:
    x = torch.randn(N, D)
    labels = {"depth": torch.randn(N, K), "classes": torch.randint(0, K, (N,))}
    student = linear()
    edges = [Edge("labels.depth", "student", per_sample), Edge("labels.classes", "student", F.cross_entropy)]
    losses = list(Graph({"student": student}, edges)(x, labels).values())
    torch.testing.assert_close(losses[0], per_sample(student(x), labels["depth"]).mean())
    torch.testing.assert_close(losses[1], F.cross_entropy(student(x), labels["classes"]))


def test_inputs_may_be_a_mapping_and_be_compared_with() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = linear(D)

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return self.fc(inputs["image"])

    x = torch.randn(N, D)
    (loss,) = Graph({"auto": Reads()}, [Edge("inputs.image", "auto", per_sample)])({"image": x}).values()
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("source", "labels", "says"),
    [
        ("labels", None, "an edge reads 'labels', but the batch has no labels"),
        ("labels.depth", None, "an edge reads 'labels.depth', but the batch has no labels"),
        ("index", None, "an edge reads 'index', but the batch has no index"),
        ("labels.depth", {"classes": torch.zeros(N)}, "'labels.depth': no tensor 'depth' in a mapping with 'classes'"),
        ("labels.depth", torch.zeros(N), "'labels.depth': no tensor 'depth' in a tensor of shape [6]"),
        (
            "labels",
            {"a": torch.zeros(N), "b": torch.zeros(N)},
            "'labels' is not one tensor but a mapping with 'a', 'b'",
        ),
    ],
)
def test_missing_labels_are_named(source: str, labels: Any, says: str) -> None:
    graph = Graph({"student": linear()}, [Edge(source, "student", per_sample)])
    with pytest.raises(RunError) as caught:
        graph(torch.randn(N, D), labels)
    assert says in str(caught.value)


def test_options_of_a_loss_are_bound() -> None:
    x, y = batch()
    student = linear()
    smooth = functools.partial(F.cross_entropy, label_smoothing=0.2, reduction="none")
    ((name, loss),) = Graph({"student": student}, [Edge("labels", "student", smooth)])(x, y).items()
    log_p = student(x).log_softmax(1)
    expected = -(0.8 * log_p[torch.arange(N), y] + 0.2 * log_p.mean(1)).mean()
    torch.testing.assert_close(loss, expected)
    assert name == "labels -> student: cross_entropy"


def test_two_terms_never_overwrite_each_other() -> None:
    edges = [
        Edge("labels", "student", lambda z, y: {"b": z.mean(), "c": z.mean()}, name="a"),
        Edge("labels", "student", F.cross_entropy, name="a/b"),
    ]
    with pytest.raises((UsageError, RunError), match="a/b"):
        Graph({"student": linear()}, edges)(*batch())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_losses_are_computed_in_full_precision_under_autocast(dtype: torch.dtype, mode: str) -> None:
    torch._dynamo.reset()
    seen: list[tuple[torch.dtype, ...]] = []

    def loss(*tensors: Tensor) -> Tensor:
        if mode == "eager":
            seen.append((*(t.dtype for t in tensors), torch.mm(tensors[0].T, tensors[0]).dtype))
        return per_sample(*tensors)

    student, adapter = nn.Sequential(linear(8), nn.ReLU(), nn.Linear(8, K)), nn.Linear(8, 8)
    teacher = freeze(nn.Sequential(linear(8), nn.ReLU(), nn.Linear(8, K)))
    graph = Graph(
        {"teacher": teacher, "student": student},
        [
            Edge("teacher", "student", loss, name="out"),
            Edge("teacher.0", "student.0", loss, adapter=adapter, name="in"),
        ],
    )
    if mode != "eager":
        graph.compile(backend=mode)
    x, _ = batch()
    with torch.autocast("cpu", dtype):
        losses = graph(x)
        z, t, z0, t0 = (part(x) for part in (student, teacher, student[0], teacher[0]))
    assert z.dtype == t0.dtype == dtype
    torch.testing.assert_close(losses["out"], per_sample(z.float(), t.float()).mean())
    torch.testing.assert_close(losses["in"], per_sample(adapter(z0.float()), t0.float()).mean())
    assert all(set(dtypes) == {torch.float32} for dtypes in seen)
    assert all(value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.dtype == torch.float32 for p in student.parameters())
    torch._dynamo.reset()


class NoSync(TorchDispatchMode):
    """Fails when a value is brought to the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func), "the step waited for the device"
        return func(*args, **(kwargs or {}))


def test_a_step_brings_no_value_to_the_host() -> None:
    student, teacher = nn.Sequential(linear(8), nn.ReLU(inplace=True), nn.Linear(8, K)), freeze(linear())
    edges = [
        Edge("labels", "student", F.cross_entropy, gate=gates.Cosine()),
        Edge("teacher", "student", lambda z, t: {"a": per_sample(z, t), "b": z.mean()}, gate=gates.Linear()),
        Edge("inputs", "student.0", lambda z, x: z.mean(), adapter=nn.Linear(8, 2)),
    ]
    graph = Graph({"teacher": teacher, "student": student}, edges)
    x, y = batch()
    with NoSync():
        for progress in (0.0, 0.1, 0.9):
            sum(graph(x, y, progress=progress).values()).backward()
    with pytest.raises(AssertionError, match="waited"), NoSync():
        torch.ones(()).item()


# what runs


@pytest.mark.parametrize("closed", [0, 0.0, -0.0, gates.Constant(0.0), gates.Between(0.5, 1.0), gates.Linear(0, 1)])
def test_a_closed_gate_costs_nothing(closed: Any) -> None:
    student, other, teacher = linear(), linear(), freeze(linear())
    runs, other_runs = counted(teacher), counted(other)
    edges = [
        Edge("labels", "student", F.cross_entropy),
        Edge("labels", "other", must_not_run, gate=closed),
        Edge("teacher", "student", must_not_run, gate=closed, name="output"),
        Edge("teacher:in", "student", must_not_run, gate=closed, adapter=must_not_run, name="tap"),
    ]
    views: dict[str, Callable[[Any], Any]] = {"teacher": must_not_run, "other": must_not_run}
    graph = Graph({"teacher": teacher, "student": student, "other": other}, edges, views=views)
    losses = graph(*batch(), progress=0.0)
    assert list(losses) == ["labels -> student: cross_entropy"]
    assert (runs, other_runs) == ([], [])


def test_closed_edges_need_no_labels() -> None:
    edges = [Edge("labels", "a", F.cross_entropy, gate=0.0), Edge("inputs", "a", lambda z, x: z.sum(1))]
    assert len(Graph({"a": linear()}, edges)(torch.randn(N, D))) == 1


def test_all_gates_closed_gives_no_loss_and_runs_nothing() -> None:
    student = linear()
    runs = counted(student)
    assert Graph({"a": student}, [Edge("labels", "a", must_not_run, gate=0)])(*batch()) == {}
    assert runs == []


def test_a_loss_that_happens_to_be_zero_is_still_open() -> None:
    (loss,) = Graph({"a": linear()}, [Edge("labels", "a", lambda z, y: z.sum() * 0)])(*batch()).values()
    assert loss == 0
    assert loss.requires_grad


@pytest.mark.parametrize("n", [2, 3, 4])
def test_n_nodes_run_n_times_whatever_the_number_of_edges(n: int) -> None:
    nodes = {f"net{i}": linear() for i in range(n)}
    runs = {name: counted(node) for name, node in nodes.items()}
    edges = [Edge("labels", name, F.cross_entropy) for name in nodes]
    edges += [Edge(a, b, per_sample) for a in nodes for b in nodes if a != b]
    graph = Graph(nodes, edges)
    losses = graph(*batch())
    assert len(losses) == n * n
    sum(losses.values()).backward()
    assert {name: len(r) for name, r in runs.items()} == dict.fromkeys(nodes, 1)


def test_a_learning_node_that_only_teaches_at_the_moment_runs_without_gradients() -> None:
    a, b = linear(), linear()
    graph = Graph(
        {"a": a, "b": b},
        [Edge("b", "a", per_sample), Edge("labels", "b", F.cross_entropy, gate=gates.Between(0.5, 1.0))],
    )
    seen: list[bool] = []
    b.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad))
    graph(*batch(), progress=0.0)
    graph(*batch(), progress=0.7)
    assert seen == [False, True]


# one way only


def peeking(student: Tensor, teacher: Tensor) -> Tensor:
    """A loss that forgets to detach, and even wants the teacher to move."""
    return (student * teacher).sum(1)


def test_no_gradient_reaches_a_source() -> None:
    a, b = linear(), linear()
    graph = Graph({"a": a, "b": b}, [Edge("b", "a", peeking, name="to a"), Edge("labels", "b", F.cross_entropy)])
    losses = graph(*batch())
    assert (
        torch.autograd.grad(losses["to a"], list(b.parameters()), allow_unused=True, retain_graph=True) == (None,) * 2
    )
    assert all(g is not None for g in torch.autograd.grad(losses["to a"], list(a.parameters())))


@pytest.mark.parametrize("source", ["net", "net.1", "net.0"])
def test_no_gradient_reaches_a_source_inside_the_same_node(source: str) -> None:
    net = nn.Sequential(nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False))
    graph = Graph({"net": net}, [Edge(source, "net.0", peeking)])
    x = torch.randn(N, D)
    sum(graph(x).values()).backward()
    assert net[1].weight.grad is None
    hidden = F.linear(x, net[0].weight)
    fixed = (hidden if source == "net.0" else net[1](hidden)).detach()
    (expected,) = torch.autograd.grad(peeking(hidden, fixed).mean(), [net[0].weight])
    torch.testing.assert_close(net[0].weight.grad, expected)


def test_a_node_may_teach_itself_through_the_same_address() -> None:
    net = linear()
    x = torch.randn(N, D)
    (loss,) = Graph({"net": net}, [Edge("net", "net", peeking)])(x).values()
    (grad,) = torch.autograd.grad(loss, [net.weight])
    (expected,) = torch.autograd.grad((net(x) * net(x).detach()).sum(1).mean(), [net.weight])
    torch.testing.assert_close(grad, expected)


def test_gradients_do_not_reach_inputs_that_are_a_source() -> None:
    x = torch.randn(N, D, requires_grad=True)
    net = nn.Linear(D, D)
    nn.init.zeros_(net.weight)
    sum(Graph({"net": net}, [Edge("inputs", "net", peeking)])(x).values()).backward()
    assert not x.grad.any()


# the update


def cohort(order: tuple[str, ...] = ("a", "b", "c")) -> tuple[dict[str, nn.Module], Graph]:
    nodes: dict[str, nn.Module] = {}
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        nodes[name] = nn.Sequential(linear(8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, K))
    edges = [Edge("labels", name, F.cross_entropy) for name in "abc"]
    edges += [Edge(s, t, per_sample) for s in "abc" for t in "abc" if s != t]
    return nodes, Graph({name: nodes[name] for name in order}, edges)


def weights_after(graph: Graph, optimizers: list[torch.optim.Optimizer]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    for _ in range(4):
        x, y = torch.randn(N, D, generator=generator), torch.randint(0, K, (N,), generator=generator)
        for optimizer in optimizers:
            optimizer.zero_grad()
        sum(graph(x, y).values()).backward()
        for optimizer in optimizers:
            optimizer.step()
    return [value for name in "abc" for value in graph.nodes[name].state_dict().values()]


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, weight_decay=1e-3)


def test_one_optimiser_for_all_is_one_per_node_bit_for_bit() -> None:
    joint, single, swapped = (cohort()[1] for _ in range(3))
    one = weights_after(joint, [adam(joint.parameters())])
    per_node = weights_after(single, [adam(single.parameters_of(name)) for name in "abc"])
    reverse = weights_after(swapped, [adam(swapped.parameters_of(name)) for name in "cab"])
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, per_node, reverse, strict=True))


def test_the_order_of_the_nodes_changes_nothing() -> None:
    first, second = cohort()[1], cohort(("c", "a", "b"))[1]
    assert list(second.nodes) == ["c", "a", "b"]
    one, two = (weights_after(graph, [adam(graph.parameters())]) for graph in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_update_is_simultaneous() -> None:
    nodes, graph = cohort()
    for node in nodes.values():
        node[1].eval()
    x, y = batch()
    outputs = {name: node(x).detach() for name, node in nodes.items()}
    sum(graph(x, y).values()).backward()
    for name, node in nodes.items():
        z = node(x)
        peers = sum(per_sample(z, outputs[peer]).mean() for peer in nodes if peer != name)
        expected = torch.autograd.grad(F.cross_entropy(z, y) + peers, list(node.parameters()))
        for parameter, gradient in zip(node.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_a_nan_on_one_edge_leaves_the_other_nodes_finite() -> None:
    a, b = linear(), linear()
    graph = Graph(
        {"a": a, "b": b},
        [Edge("labels", "a", lambda z, y: z.sum() * math.nan, name="bad"), Edge("labels", "b", F.cross_entropy)],
    )
    sum(graph(*batch()).values()).backward()
    assert a.weight.grad.isnan().all()
    assert b.weight.grad.isfinite().all()


# views


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((D,), 2.0))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x - self.mean


def test_every_node_sees_its_own_view() -> None:
    student, teacher, view = linear(), freeze(linear()), Shift()
    graph = Graph(
        {"teacher": teacher, "student": student},
        [Edge("teacher", "student", per_sample), Edge("inputs", "student:in", per_sample, name="raw")],
        views={"teacher": view},
    )
    x, _ = batch()
    with torch.no_grad():
        losses = graph(x)
    torch.testing.assert_close(losses["teacher -> student: per_sample"], per_sample(student(x), teacher(x - 2)).mean())
    assert losses["raw"] == 0
    assert torch.equal(graph.predict("teacher", x), teacher(x - 2))
    assert torch.equal(graph.predict("student", x), student(x))


def test_a_view_that_is_shared_is_computed_once() -> None:
    view = Shift()
    nodes = {name: linear() for name in "abc"}
    edges = [Edge("labels", name, F.cross_entropy) for name in nodes]
    graph = Graph(nodes, edges, views={"a": view, "b": view})
    graph(*batch())
    assert view.calls == 1


def test_views_belong_to_the_graph() -> None:
    view = Shift()
    graph = Graph({"a": linear()}, [Edge("labels", "a", F.cross_entropy)], views={"a": view})
    graph.to(torch.float64)
    assert view.mean.dtype == torch.float64
    assert graph(torch.randn(N, D, dtype=torch.float64), batch()[1])


# what is refused


def make(nodes: Any = None, edges: Any = None, **options: Any) -> Graph:
    nodes = {"student": linear(), "teacher": freeze(linear())} if nodes is None else nodes
    return Graph(nodes, [Edge("labels", "student", F.cross_entropy)] if edges is None else edges, **options)


@pytest.mark.parametrize("name", ["half", "double", "values", "keys", "items", "pop", "training", "type", "forward"])
def test_a_name_that_modules_use_themselves_works_or_is_refused_readably(name: str) -> None:
    try:
        graph = Graph({name: linear()}, [Edge("labels", name, F.cross_entropy)])
    except UsageError as error:
        assert repr(name) in str(error)  # noqa: PT017 - either it works or this error
    else:
        assert len(graph(*batch())) == 1


@pytest.mark.parametrize("ask", [lambda g: g.predict("studnt", batch()[0]), lambda g: list(g.parameters_of("studnt"))])
def test_asking_for_a_node_that_is_not_there_says_what_is(ask: Callable[[Graph], object]) -> None:
    with pytest.raises(UsageError, match="unknown node 'studnt': did you mean 'student'"):
        ask(make())


# how it reads


def test_who_learns_and_who_teaches() -> None:
    graph = make()
    assert graph.learning == ("student",)
    assert graph.frozen == ("teacher",)


def _mutual() -> Graph:
    torch.manual_seed(0)
    nodes = {n: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)) for n in "abc"}
    edges = [Edge("labels", n, F.cross_entropy) for n in nodes]
    return Graph(nodes, [*edges, *(Edge(s, t, losses.kd) for s in nodes for t in nodes if s != t)])


def test_only_some_nodes_learn() -> None:
    graph, inputs, labels = _mutual(), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    everything = graph(inputs, labels=labels)
    kept = {name: value.clone() for name, value in graph.nodes["a"].state_dict().items()}
    some = graph(inputs, labels=labels, only=("b",))
    assert list(some) == [name for name in everything if "-> b" in name]
    assert all(torch.equal(some[name], everything[name]) for name in some)
    sum(some.values()).backward()
    assert all((p.grad is not None) == (name == "b") for name in "abc" for p in graph.nodes[name].parameters())
    assert all(torch.equal(kept[name], value) for name, value in graph.nodes["a"].state_dict().items())
    assert all(m.track_running_stats for m in graph.modules() if isinstance(m, nn.BatchNorm1d))
    assert graph.nodes["b"][1].num_batches_tracked == 2


def test_each_softmax_is_computed_once() -> None:
    """Three networks as sources and as targets, six edges: six, not twelve."""
    graph, inputs, labels = _mutual(), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    for edge in graph.edges:
        assert edge.loss in (losses.kd, F.cross_entropy)
    with torch.profiler.profile() as profile:
        graph(inputs, labels=labels)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["aten::_log_softmax"] == 6 + 3  # and one for each cross-entropy


def test_an_edge_knows_its_nodes() -> None:
    graph = _mutual()
    assert [(graph.sources_of(edge), graph.target_of(edge)) for edge in graph.edges][2:4] == [((), "c"), (("a",), "b")]


# what is written in place


class Scaling(nn.Module):
    """Scales what it is given in place, as some networks of others do first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()

    def forward(self, x: Any) -> Tensor:
        x = x["image"] if isinstance(x, dict) else x
        return self.layer(x.mul_(0.5))


def test_what_a_node_overwrites_of_a_view_another_node_does_not_see() -> None:
    inputs, labels = batch()
    student = linear()
    edges = [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", losses.kd)]
    view = lambda x: x + 1.0  # noqa: E731
    graph = Graph({"teacher": freeze(Scaling()), "student": student}, edges, views={"teacher": view, "student": view})
    found = graph(inputs, labels)["labels -> student: cross_entropy"]
    assert torch.equal(found, F.cross_entropy(student(inputs + 1.0), labels))


def test_a_node_that_overwrites_inputs_is_refused_whatever_holds_them() -> None:
    inputs, labels = batch()
    graph = Graph({"a": Scaling()}, [Edge("labels", "a", F.cross_entropy)])
    for given_ in (inputs, {"image": inputs}):
        with pytest.raises(RunError, match="node 'a' overwrote the inputs in place"):
            graph(given_, labels)


def test_a_loss_that_overwrites_what_it_reads_is_refused() -> None:
    def careless(student: Tensor, teacher: Tensor) -> Tensor:
        return per_sample(student, teacher.div_(4))

    nodes = {"teacher": freeze(linear()), "student": linear()}
    graph = Graph(nodes, [Edge("teacher", "student", careless), Edge("teacher", "student", per_sample)])
    for attempt in (graph, graph.build):
        with pytest.raises(UsageError, match=r"^edge 'teacher -> student: careless' overwrites in place"):
            attempt(*batch())


def test_an_edge_to_what_no_weight_moves_is_refused() -> None:
    student = nn.Sequential(freeze(linear()), linear(K), nn.ReLU())
    student[1] = nn.Linear(K, K)
    nodes = {"teacher": freeze(linear()), "student": student}
    edges = [Edge("teacher", "student", per_sample), Edge("teacher", "student.0", per_sample, name="early")]
    graph = Graph(nodes, edges)
    with pytest.raises(RunError, match=r"^edge 'early' teaches nothing: what it points to depends on no weight$"):
        graph(*batch())
    with torch.no_grad():
        assert len(graph(*batch())) == 2  # nobody learns from it


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(), nn.Linear(K, K)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = torch.utils.checkpoint.checkpoint(self.first, x, use_reentrant=True)
        return self.second(hidden)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # what is tested: the gradient is lost
def test_a_stage_that_checkpointing_runs_without_gradient_cannot_learn() -> None:
    nodes = {"teacher": freeze(linear()), "student": Checkpointed()}
    graph = Graph(nodes, [Edge("teacher", "student.first", per_sample, name="early")])
    with pytest.raises(RunError, match="edge 'early' teaches nothing"):
        graph(*batch())


# the rest


@pytest.mark.parametrize("progress", [-0.1, 1.1, math.nan])
def test_progress_is_a_fraction(progress: float) -> None:
    graph = Graph({"a": linear()}, [Edge("labels", "a", F.cross_entropy)])
    with pytest.raises(UsageError, match="progress is a fraction of training between 0 and 1, got"):
        graph(*batch(), progress=progress)


def test_a_gate_that_returns_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="edge 'e': a gate returns a number, got None"):
        Graph({"a": linear()}, [Edge("labels", "a", F.cross_entropy, gate=lambda progress: None, name="e")])


def test_an_error_of_a_node_says_whose_it_is() -> None:
    graph = Graph({"a": linear().double()}, [Edge("labels", "a", F.cross_entropy)])
    with pytest.raises(RuntimeError) as caught:
        graph(*batch())
    assert caught.value.__notes__ == ["while node 'a' ran"]
