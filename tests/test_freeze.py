"""Teachers cannot be mistreated: what is frozen stays as it was, whatever is done around it."""

import copy
import hashlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, freeze
from mentorch._freeze import is_frozen, precision_of, thawed

N, D, K = 8, 4, 3


def network() -> nn.Sequential:
    """Batch normalisation and dropout: what a teacher in training mode would change, and would vary by."""
    return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, K))


def fingerprint(module: nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in module.state_dict().items():
        state.update(name.encode())
        state.update(value.numpy().tobytes())
    return state.hexdigest()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(N, D) + 3, torch.randint(0, K, (N,))


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def distilling(teacher: nn.Module, student: nn.Module | None = None) -> Graph:
    return Graph(
        {"teacher": teacher, "student": network() if student is None else student},
        [
            Edge("labels", "student", F.cross_entropy),
            Edge("teacher", "student", per_sample),
            Edge("teacher.0", "student.0", per_sample, adapter=nn.Linear(8, 8)),
        ],
    )


def train(graph: Graph, parameters: Any, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        graph.train()
        optimizer.zero_grad()
        sum(graph(*batch()).values()).backward()
        optimizer.step()


def modes(module: nn.Module) -> list[bool]:
    return [m.training for m in module.modules()]


MISTREATMENTS: dict[str, Callable[[Graph], object]] = {
    "graph.train()": lambda g: g.train(),
    "teacher.train()": lambda g: g.nodes["teacher"].train(),
    "graph.train(False).train()": lambda g: g.train(False).train(),
    "graph.eval() and back": lambda g: g.eval().train(),
    "apply": lambda g: g.apply(lambda m: m.train()),
    "a part of it": lambda g: g.nodes["teacher"][3].train(),
    "all parts of it": lambda g: [m.train() for m in g.nodes["teacher"].children()],
    "another graph": lambda g: distilling(g.nodes["teacher"]).train(),
    "build": lambda g: g.build(*batch()),
}


@pytest.mark.parametrize("how", MISTREATMENTS)
def test_a_frozen_network_stays_in_evaluation_mode(how: str) -> None:
    graph = distilling(freeze(network()))
    MISTREATMENTS[how](graph)
    assert not any(modes(graph.nodes["teacher"]))
    if how != "build":
        assert all(modes(graph.nodes["student"]))
    x, _ = batch()
    assert torch.equal(graph.predict("teacher", x), graph.predict("teacher", x))


def test_freezing_returns_the_network_itself() -> None:
    net = network()
    assert freeze(net) is net
    assert net.train() is net
    assert net.eval() is net
    assert is_frozen(net)
    assert not is_frozen(network())


@pytest.mark.parametrize("statistics", ["running", "batch"])
@pytest.mark.parametrize("whose", ["everything", "learning"])
def test_training_leaves_a_teacher_as_it_was(statistics: Any, whose: str) -> None:
    teacher = network()
    for _ in range(3):
        teacher(batch()[0])  # statistics worth keeping
    graph = distilling(freeze(teacher, statistics=statistics))
    student = graph.nodes["student"]
    before, other = fingerprint(teacher), fingerprint(student)
    train(graph, graph.parameters() if whose == "everything" else graph.parameters_of("student"))
    assert fingerprint(teacher) == before
    assert fingerprint(student) != other
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_a_teacher_is_absent_from_what_is_trained() -> None:
    graph = distilling(freeze(network()))
    assert list(graph.parameters_of("teacher")) == []
    trained = {id(p) for p in graph.parameters_of("student")}
    assert trained == {id(p) for part in (graph.nodes["student"], graph.owned) for p in part.parameters()}
    assert not trained & {id(p) for p in graph.nodes["teacher"].parameters()}


def test_a_teacher_runs_once_per_batch_without_gradients() -> None:
    teacher = freeze(network())
    runs: list[tuple[bool, bool]] = []
    graph = distilling(teacher)
    teacher.register_forward_hook(lambda module, args, out: runs.append((torch.is_grad_enabled(), out.requires_grad)))
    for _ in range(3):
        sum(graph(*batch()).values()).backward()
    assert runs == [(False, False)] * 3


def test_gradients_are_off_for_a_teacher_even_if_somebody_switched_them_on_again() -> None:
    graph = distilling(freeze(network()))
    graph.requires_grad_(True)
    sum(graph(*batch()).values()).backward()
    assert all(p.grad is None for p in graph.nodes["teacher"].parameters())


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_which_statistics_normalise(statistics: Any) -> None:
    net = nn.Sequential(nn.BatchNorm1d(D), nn.Dropout(0.9))
    net(torch.randn(N, D))
    mean, variance = net[0].running_mean.clone(), net[0].running_var.clone()
    freeze(net, statistics=statistics)
    x, _ = batch()
    if statistics == "batch":
        mean, variance = x.mean(0), x.var(0, correction=0)
    torch.testing.assert_close(net(x), (x - mean) / (variance + net[0].eps).sqrt())
    assert net[0].num_batches_tracked == 1


@pytest.mark.parametrize("first", ["running", "batch"])
@pytest.mark.parametrize("second", ["running", "batch"])
def test_freezing_again_means_what_it_says(first: Any, second: Any) -> None:
    net, twin = network(), network()
    twin.load_state_dict(net.state_dict())
    freeze(freeze(net, statistics=first), statistics=second)
    freeze(twin, statistics=second)
    x, _ = batch()
    assert torch.equal(net(x), twin(x))
    assert is_frozen(net)


def test_a_network_that_has_its_own_idea_of_training_is_frozen_too() -> None:
    class Stubborn(nn.Sequential):
        def train(self, mode: bool = True) -> "Stubborn":
            super().train(mode)
            self[0].train()
            return self

    net = freeze(Stubborn(nn.Dropout(0.5)))
    net.train()
    net.eval()
    assert not any(modes(net))


def test_a_compiled_network_can_be_frozen() -> None:
    torch._dynamo.reset()
    inner = network()
    net = freeze(torch.compile(inner, backend="eager"))
    x, y = batch()
    graph = Graph({"teacher": net, "student": linear_student()}, [Edge("teacher", "student", per_sample)])
    graph.train()
    inner.train()
    assert is_frozen(net)
    assert not any(modes(inner))
    before = fingerprint(inner)
    sum(graph(x, y).values()).backward()
    assert fingerprint(inner) == before
    torch._dynamo.reset()


def linear_student() -> nn.Module:
    return nn.Linear(D, K)


# a student that shares parts with its teacher


class Reuses(nn.Module):
    """A student that ends in its teacher's own classifier."""

    def __init__(self, teacher: nn.Sequential) -> None:
        super().__init__()
        self.body = nn.Linear(D, 8)
        self.tail = teacher[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))


def test_a_student_that_reuses_a_part_of_its_teacher_leaves_it_alone() -> None:
    teacher = freeze(network())
    before = fingerprint(teacher)
    graph = distilling(teacher, nn.Sequential(nn.Linear(D, 8), Reuses(teacher).tail))
    graph.train()
    assert not any(modes(teacher))
    train(graph, graph.parameters_of("student"))
    assert fingerprint(teacher) == before


def test_a_loss_that_holds_a_part_of_the_teacher_leaves_it_alone() -> None:
    class ThroughTheTeachersHead(nn.Module):
        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
            return per_sample(self.head(student), self.head(teacher))

    teacher = freeze(network())
    before = fingerprint(teacher)
    loss = ThroughTheTeachersHead(teacher[1:])
    graph = Graph({"teacher": teacher, "student": network()}, [Edge("teacher.0", "student.0", loss)])
    assert not any(modes(teacher))
    assert {id(p) for p in graph.parameters_of("student")} == {id(p) for p in graph.nodes["student"].parameters()}
    train(graph, graph.parameters_of("student"))
    assert fingerprint(teacher) == before


def test_a_student_that_contains_its_teacher_leaves_it_alone() -> None:
    teacher = freeze(network())
    before = fingerprint(teacher)
    student = nn.Sequential(teacher, nn.Linear(K, K))
    graph = Graph({"student": student}, [Edge("labels", "student", F.cross_entropy)])
    train(graph, graph.parameters_of("student"))
    assert fingerprint(teacher) == before
    assert {id(p) for p in graph.parameters_of("student")} == {id(p) for p in student[1].parameters()}


# copies


def test_a_copy_of_a_frozen_network_is_frozen_by_itself() -> None:
    teacher = freeze(network())
    twin = copy.deepcopy(teacher)
    assert is_frozen(twin)
    assert twin.train() is twin
    assert not any(modes(twin))
    with torch.no_grad():
        twin[0].weight.zero_()
    assert teacher[0].weight.any()


def test_a_copy_of_a_graph_keeps_its_teacher_frozen() -> None:
    graph = distilling(freeze(network()))
    twin = copy.deepcopy(graph)
    assert (twin.frozen, twin.learning) == (("teacher",), ("student",))
    before, others = fingerprint(twin.nodes["teacher"]), fingerprint(graph)
    train(twin, twin.parameters())
    assert fingerprint(twin.nodes["teacher"]) == before
    assert fingerprint(graph) == others
    assert not any(modes(twin.nodes["teacher"]))


def test_a_copy_of_a_graph_trains_its_own_adapters() -> None:
    graph = distilling(freeze(network()))
    twin = copy.deepcopy(graph)
    assert twin.edges[2].adapter is twin.owned["2"]["adapter"]
    before = fingerprint(twin.owned)
    train(twin, twin.parameters_of("student"))
    assert fingerprint(twin.owned) != before
    assert fingerprint(graph.owned) == before


def test_a_frozen_network_cannot_be_a_target_nor_can_a_part_of_it() -> None:
    for target in ("teacher", "teacher.0", "teacher:in"):
        with pytest.raises(UsageError, match="node 'teacher' is frozen and cannot learn"):
            Graph({"teacher": freeze(network())}, [Edge("labels", target, F.cross_entropy)])


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_a_thawed_copy_learns_and_the_network_stays_frozen(statistics: Any) -> None:
    frozen = freeze(network(), statistics=statistics)
    before = fingerprint(frozen)
    copied = thawed(frozen)
    assert fingerprint(copied) == before
    assert is_frozen(frozen)
    assert not is_frozen(copied)
    assert all(module.training for module in copied.modules())
    optimizer = torch.optim.SGD(copied.parameters(), lr=0.1)
    inputs, labels = batch()
    F.cross_entropy(copied(inputs), labels).backward()
    optimizer.step()
    moved = [name for name, x in copied.state_dict().items() if not torch.equal(x, frozen.state_dict()[name])]
    # running statistics too; a bias in front of a batch norm has no gradient but rounding
    assert set(moved) | {"0.bias"} == set(frozen.state_dict())
    assert not copied.eval().training
    assert fingerprint(frozen) == before


# precision


def test_a_teacher_computes_in_the_precision_it_is_given_and_keeps_its_weights() -> None:
    net = network()
    before, (x, _) = fingerprint(net), batch()
    wanted = copy.deepcopy(freeze(net))(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x)
    lowered = freeze(net, precision=torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(lowered(x), rounded.float())
    assert not torch.equal(lowered(x), wanted)
    torch.testing.assert_close(lowered(x), wanted, rtol=0.05, atol=0.05)
    assert fingerprint(net) == before
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_the_precision_of_a_teacher_is_its_own_and_losses_see_float32() -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def noted(student: Tensor, teacher: Tensor) -> Tensor:
        seen.append((student.dtype, teacher.dtype))
        return per_sample(student, teacher)

    teacher, student = freeze(network(), precision=torch.bfloat16), network()
    edges = [Edge("teacher", "student", noted), Edge("teacher.0", "student.0", noted, name="inside")]
    outputs: list[torch.dtype] = []
    student.register_forward_hook(lambda module, args, out: outputs.append(out.dtype))
    teacher[4].register_forward_hook(lambda module, args, out: outputs.append(out.dtype))
    graph = Graph({"teacher": teacher, "student": student}, edges)
    sum(graph(*batch()).values()).backward()
    assert seen == [(torch.float32, torch.float32)] * 2
    assert outputs == [torch.bfloat16, torch.float32]
    assert all(p.grad.dtype == torch.float32 for p in student.parameters() if p.grad is not None)


def test_a_copy_keeps_the_precision_for_itself_and_a_thawed_one_has_none() -> None:
    net = freeze(network(), precision=torch.bfloat16)
    twin, learner, (x, _) = copy.deepcopy(net), thawed(net), batch()
    with torch.no_grad():
        twin[4].bias.add_(64)
    assert (twin(x) - net(x)).min() > 32
    assert precision_of(twin) == precision_of(net) == torch.bfloat16
    assert not torch.equal(freeze(learner)(x), net(x))
    assert precision_of(learner) is None


def test_freezing_again_takes_the_precision_back() -> None:
    net, (x, _) = freeze(network()), batch()
    before = net(x)
    lowered = freeze(copy.deepcopy(net), precision=torch.bfloat16)(x)
    freeze(freeze(net, precision=torch.float16), precision=torch.bfloat16)
    assert torch.equal(net(x), lowered)
    assert not torch.equal(net(x), before)
    assert torch.equal(freeze(net)(x), before)


def test_a_compiled_graph_runs_its_teacher_in_the_same_precision() -> None:
    torch._dynamo.reset()
    teacher, (x, _) = freeze(network(), precision=torch.bfloat16), batch()
    graph = Graph({"teacher": teacher, "student": linear_student()}, [Edge("teacher", "student", per_sample)])
    eager = graph(x)
    graph.compile(backend="eager")
    torch.testing.assert_close(graph(x), eager)
    freeze(teacher)
    assert not torch.equal(*graph(x).values(), *eager.values())  # in full precision from here on
    torch._dynamo.reset()


def test_what_is_frozen_can_be_saved_loaded_and_sent_to_another_process() -> None:
    teacher, student, (x, _) = freeze(network(), precision=torch.bfloat16), nn.Sequential(freeze(network())), batch()
    graph = Graph({"teacher": teacher, "student": linear_student()}, [Edge("teacher", "student", per_sample)])
    file = io.BytesIO()
    torch.save([teacher, student, graph], file)
    file.seek(0)
    twin, learner, drawn = torch.load(file, weights_only=False)
    torch.testing.assert_close(drawn(x), graph(x))
    assert torch.equal(twin(x), teacher(x))
    assert precision_of(twin) == torch.bfloat16
    with torch.no_grad():
        twin[4].bias.add_(64)
    assert (twin(x) - teacher(x)).min() > 32
    assert is_frozen(twin)
    assert not any(modes(twin.train()))
    assert not any(modes(learner.train())[1:])
    assert not is_frozen(learner)


@pytest.mark.parametrize("inside", [False, True])
def test_torchscript_is_refused_before_anything_changes(inside: bool) -> None:
    net = network().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, batch()[0])
    net.train()
    part = "TorchScript cannot be frozen" + (r" \(its part '1'\)" if inside else "")
    with pytest.raises(UsageError, match=f"^{part}: freeze the network that it was made from$"):
        freeze(nn.Sequential(net, traced) if inside else traced)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
