import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentorch import UsageError, fit, freeze, losses
from mentorch.methods import MeanOfTeachers, WinnerTakesAll, distill, mean_of_teachers, one_copy_each
from mentorch.training import Monitor, On


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def data(batches: int = 3, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(6, 4, generator=draw), torch.randint(0, 3, (6,), generator=draw)) for _ in range(batches)]


def teachers(count: int = 2, outputs: int = 3) -> dict[str, nn.Module]:
    return {f"t{i}": nn.Linear(4, outputs) for i in range(count)}


def by_hand(student: Tensor, logits: list[Tensor], classes: list[list[int]], temperature: float) -> Tensor:
    """The definition, class by class, in float64."""
    n, k = student.shape
    target = torch.zeros(n, k, dtype=torch.float64)
    for b in range(n):
        for c in range(k):
            votes = [
                (t[b].double() / temperature).softmax(0)[known.index(c)]
                for t, known in zip(logits, classes, strict=True)
                if c in known
            ]
            target[b, c] = sum(votes) / len(votes) if votes else 0.0
        target[b] /= target[b].sum()
    q = (student.double() / temperature).log_softmax(1)
    terms = torch.where(target > 0, target * (target.clamp(min=1e-300).log() - q), torch.zeros_like(q))
    return temperature**2 * terms.sum(1)


@given(st.integers(2, 6), st.data(), st.floats(0.5, 8.0), st.floats(0.1, 20.0))
def test_the_mean_equals_its_formula(k: int, drawn, temperature: float, scale: float) -> None:
    subsets = st.lists(st.integers(0, k - 1), min_size=1, max_size=k, unique=True)
    classes = drawn.draw(st.lists(subsets, min_size=1, max_size=3))
    draw = torch.Generator().manual_seed(drawn.draw(st.integers(0, 99)))
    logits = [torch.randn(4, len(known), generator=draw) * scale for known in classes]
    student = torch.randn(4, k, generator=draw) * scale
    found = MeanOfTeachers(tuple(map(tuple, classes)), temperature)(student, *logits)
    expected = by_hand(student, logits, classes, temperature)
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4 * scale)
    assert (found > -1e-3).all()


def test_the_mean_of_one_is_plain_distillation_and_of_equals_too() -> None:
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    plain = losses.kd(student, teacher, temperature=3.0)
    assert torch.allclose(MeanOfTeachers((), 3.0)(student, teacher), plain, atol=1e-5)
    assert torch.allclose(MeanOfTeachers((), 3.0)(student, teacher, teacher), plain, atol=1e-5)


def test_a_class_that_nobody_knows_gets_no_mass() -> None:
    loss = MeanOfTeachers(((0, 1), (1, 2)), 1.0)
    known = [torch.zeros(1, 2), torch.zeros(1, 2)]
    # the third class, unknown to all, may be pushed away for nothing: the best student gives it no mass at all
    best = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 1e-30]]).log()
    assert loss(best, *known).item() == pytest.approx(0.0, abs=1e-5)
    gradient = torch.zeros(1, 4, requires_grad=True)
    loss(gradient, *known).sum().backward()
    assert gradient.grad[0, 3].item() == pytest.approx(0.25)  # its whole share of the softmax


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_harsh_logits_in_half_precision_stay_finite(dtype: torch.dtype) -> None:
    loss = MeanOfTeachers(((0, 1), (2, 3)), 1.0)
    found = loss(torch.randn(3, 4).mul(200).to(dtype), *(torch.randn(3, 2).mul(200).to(dtype) for _ in range(2)))
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "shapes", "complaint"),
    [
        (MeanOfTeachers(((0,), (1,))), [1], "2 lists of classes for 1 sub-teachers"),
        (MeanOfTeachers(((0, 1), (1, 2))), [2, 3], "3 outputs but 2 classes"),
        (MeanOfTeachers(), [4, 2], "2 outputs but 4 classes"),
    ],
)
def test_outputs_and_classes_must_agree(loss: MeanOfTeachers, shapes: list[int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        loss(torch.randn(3, 4), *(torch.randn(3, width) for width in shapes))


def test_the_graph_of_the_mean_gives_its_loss() -> None:
    student, subs = nn.Linear(4, 3), {"left": nn.Linear(4, 2), "right": nn.Linear(4, 2)}
    graph = mean_of_teachers(
        student, subs, classes={"left": [0, 1], "right": [1, 2]}, temperature=2.0, gate=0.7, labels=0.2
    )
    (inputs, labels) = data(1)[0]
    found = graph(inputs, labels=labels)
    soft = by_hand(student(inputs), [t(inputs) for t in subs.values()], [[0, 1], [1, 2]], 2.0).mean().item()
    assert found["mean of left, right -> student: kd"].item() == pytest.approx(0.7 * soft, rel=1e-4)
    hard = F.cross_entropy(student(inputs), labels).item()
    assert found["labels -> student: cross_entropy"].item() == pytest.approx(0.2 * hard, rel=1e-5)
    assert graph.frozen == ("left", "right")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="two sub-teachers or more, got 1"):
        mean_of_teachers(nn.Linear(4, 3), teachers(1))
    with pytest.raises(UsageError, match="two sub-teachers or more, got 0"):
        one_copy_each(nn.Linear(4, 3), {})
    with pytest.raises(UsageError, match="every sub-teacher, or of none"):
        mean_of_teachers(nn.Linear(4, 3), teachers(2), classes={"t0": [0, 1, 2]})
    with pytest.raises(UsageError, match="unknown sub-teacher in classes 'tt'"):
        mean_of_teachers(nn.Linear(4, 3), teachers(2), classes={"tt": [0, 1, 2]})
    with pytest.raises(UsageError, match="'copy' or 'reset', got 'keep'"):
        WinnerTakesAll("keep")


def test_each_copy_learns_from_its_own_teacher_only() -> None:
    student, subs = nn.Linear(4, 3), teachers(2)
    graph = one_copy_each(student, subs, temperature=2.0, gate=0.7, labels=0.2)
    (inputs, labels) = data(1)[0]
    found = graph(inputs, labels=labels)
    assert len(found) == 4
    for name, teacher in subs.items():
        expected = 0.7 * losses.kd(student(inputs), teacher(inputs), temperature=2.0).mean().item()
        assert found[f"{name} -> student_{name}: kd"].item() == pytest.approx(expected, rel=1e-5)
    alone = distill_of_first(student, subs, inputs, labels)
    sum(found.values()).backward()
    for own, other in zip(graph.nodes["student_t0"].parameters(), alone, strict=True):
        assert torch.allclose(own.grad, other, atol=1e-6)


def distill_of_first(student: nn.Module, subs: dict[str, nn.Module], inputs: Tensor, labels: Tensor) -> list[Tensor]:
    copied = copy.deepcopy(student)
    graph = distill(copied, copy.deepcopy(subs["t0"]), (partial(losses.kd, temperature=2.0), 0.7), labels=0.2)
    sum(graph(inputs, labels=labels).values()).backward()
    return [p.grad for p in copied.parameters()]


def train(take_all: WinnerTakesAll, subs: dict[str, nn.Module], *, epochs: int = 3, watch=(), after=(), **options):
    torch.manual_seed(5)
    graph = one_copy_each(nn.Linear(4, 3), subs)
    history = fit(
        graph,
        data(),
        optimizer=options.pop("optimizer", partial(torch.optim.Adam, lr=0.1)),
        epochs=epochs,
        validation=data(2, seed=9),
        monitor=Monitor(node="*"),
        callbacks=[*watch, take_all.callback, *after],
        device="cpu",
        **options,
    )
    return graph, history


def weights(graph, name: str) -> Tensor:
    return torch.cat([p.detach().flatten() for p in graph.nodes[name].parameters()]).clone()


def test_copies_differ_within_an_epoch_and_agree_after_it() -> None:
    within, after = [], []

    def difference(training) -> float:
        return float((weights(training.graph, "student_t0") - weights(training.graph, "student_t1")).abs().max())

    take_all = WinnerTakesAll()
    train(
        take_all,
        teachers(),
        watch=[On("step", lambda t: within.append(difference(t)))],
        after=[On("epoch", lambda t: after.append(difference(t)))],
    )
    assert len(within) == 9
    assert min(within) > 0
    assert after == [0.0] * 3
    assert len(take_all.winners) == 3


def test_with_equal_teachers_all_copies_stay_one_plain_student() -> None:
    teacher = nn.Linear(4, 3)
    subs = {"t0": teacher, "t1": copy.deepcopy(teacher)}
    graph, history = train(WinnerTakesAll(), subs)
    torch.manual_seed(5)
    student = nn.Linear(4, 3)
    plain = distill(student, copy.deepcopy(teacher), (losses.kd, 0.9), labels=0.1)
    expected = fit(
        plain, data(), optimizer=partial(torch.optim.Adam, lr=0.1), epochs=3, validation=data(2, seed=9), device="cpu"
    )
    for name in ("student_t0", "student_t1"):
        assert torch.equal(weights(graph, name), weights(plain, "student"))
        assert history.column(f"validation.{name}.accuracy") == expected.column("validation.student.accuracy")


def test_the_winner_has_the_lowest_validation_cross_entropy() -> None:
    good, bad = nn.Linear(4, 3), nn.Linear(4, 3)
    labelled = torch.cat([x for x, _ in data()]), torch.cat([y for _, y in data()])
    optimizer = torch.optim.Adam(good.parameters(), lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(good(labelled[0]), labelled[1]).backward()
        optimizer.step()
    take_all = WinnerTakesAll()
    with torch.no_grad():
        bad.weight.copy_(-5 * good.weight)
    _, history = train(take_all, {"good": good, "bad": bad}, epochs=4)
    for record, winner in zip(history.records, take_all.winners, strict=True):
        scores = {name: metrics["cross_entropy"] for name, metrics in record["validation"].items()}
        assert winner == min(scores, key=scores.__getitem__)
    assert len(set(history.column("validation.student_bad.cross_entropy"))) == 4


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.Adam, lr=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9)]
)
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("what", ["copy", "reset"])
def test_the_optimiser_follows_the_winner_or_forgets(what: str, each: bool, optimizer) -> None:
    states = []

    def remember(training) -> None:
        known = {p: s for each in training.steering.optimizers.values() for p, s in each.state.items()}
        states.extend([dict(known[p]) for p in training.graph.parameters_of(n)] for n in training.graph.learning)

    take_all = WinnerTakesAll(what)
    one_each = {"student_t0": optimizer, "student_t1": optimizer}
    train(take_all, teachers(), epochs=1, optimizer=one_each if each else optimizer, after=[On("epoch", remember)])
    loser, winner = states if take_all.winners == ["student_t1"] else states[::-1]
    assert all(winner)
    for own, theirs in zip(loser, winner, strict=True):
        if what == "reset":
            assert own == {}
        else:
            assert own.keys() == theirs.keys()
            assert all(torch.equal(torch.as_tensor(own[key]), torch.as_tensor(theirs[key])) for key in own)
            assert all(own[key] is not theirs[key] for key in own if isinstance(own[key], Tensor))


@pytest.mark.parametrize("what", ["copy", "reset"])
def test_training_goes_on_after_the_broadcast(what: str) -> None:
    graph, history = train(WinnerTakesAll(what), teachers())
    assert len(set(history.column("train.loss"))) == 3
    assert torch.equal(weights(graph, "student_t0"), weights(graph, "student_t1"))


def test_moving_averages_follow_the_winner_too() -> None:
    graph, _ = train(WinnerTakesAll(), teachers(), ema=0.5)
    assert torch.equal(weights(graph, "student_t0"), weights(graph, "student_t1"))


def test_a_winner_needs_validation_data() -> None:
    graph = one_copy_each(nn.Linear(4, 3), teachers())
    with pytest.raises(UsageError, match="needs validation data"):
        fit(
            graph,
            data(),
            optimizer=partial(torch.optim.Adam, lr=0.1),
            epochs=1,
            callbacks=[WinnerTakesAll().callback],
            device="cpu",
        )


def test_teachers_stay_as_they_are() -> None:
    subs = {name: freeze(t) for name, t in teachers().items()}
    before = {name: copy.deepcopy(t.state_dict()) for name, t in subs.items()}
    train(WinnerTakesAll(), subs)
    for name, teacher in subs.items():
        assert all(torch.equal(value, before[name][key]) for key, value in teacher.state_dict().items())
