import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mentorch as mt
from mentorch._errors import RunError, UsageError
from mentorch.losses import CRD
from mentorch.losses._crd import _spread

DOUBLE = torch.float64
CLASSES = 5
# (samples, negatives): products with the whole memory, and rows gathered in pieces
SIZES = {"products": (60, 20), "pieces": (200, 5)}


def batch(seed: int = 0, samples: int = 60, size: int = 6, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(size, d, generator=generator, dtype=DOUBLE).to(dtype) for d in (4, 7))
    index = torch.randperm(samples, generator=generator)[:size]
    return student, teacher, index % CLASSES, index


def make(samples: int = 60, negatives: int = 20, *, known: bool = True, dtype: torch.dtype = DOUBLE, **options) -> CRD:
    torch.manual_seed(0)
    crd = CRD(samples=samples, negatives=negatives, dim=8, **options).build(*batch(samples=samples, dtype=dtype))
    if known:
        crd.classes.copy_(torch.arange(samples) % CLASSES)
    return crd


def by_definition(crd: CRD, student: Tensor, teacher: Tensor, labels: Tensor, index: Tensor) -> Tensor:
    """As published: rows of the memory, quotients of exponentials; for the negatives that are drawn."""
    positives, negatives = crd._draw(crd.classes, labels, index)
    pair = F.normalize(crd.student(student)), F.normalize(crd.teacher(teacher))
    values = []
    for b in range(len(index)):
        drawn = negatives if crd.shared else negatives[b]
        drawn = drawn[crd.classes[drawn] != labels[b]]
        total = 0.0
        for e, memory, log_z in zip(pair, (crd.teacher_memory, crd.student_memory), crd.log_z, strict=True):
            noise = crd.negatives / crd.samples
            p = (memory[torch.cat([positives[b : b + 1], drawn])] @ e[b] / crd.temperature).exp() / log_z.exp()
            misses = (noise / (p[1:] + noise)).log().sum() * crd.negatives / len(drawn)
            total = total - (p[0] / (p[0] + noise)).log() - misses
        values.append(total)
    return torch.stack(values)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", ["exact", "relax"])
def test_value_and_gradients_are_those_of_the_definition(sizes: tuple[int, int], shared: bool, mode: str):
    crd = make(*sizes, shared=shared, mode=mode).eval()
    student, *rest = batch(1, sizes[0])
    learning = (student.requires_grad_(), *crd.parameters())
    expected, found = by_definition(crd, student, *rest), crd(student, *rest)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    weights = torch.rand(len(found), dtype=DOUBLE)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), learning),
        torch.autograd.grad((expected * weights).sum(), learning),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_the_gradient_does_not_care_that_the_memory_moved_on(shared: bool):
    crd, same = make(shared=shared).train(), make(shared=shared).eval()
    crd(*batch(1)).sum().backward()
    same(*batch(1)).sum().backward()
    assert not torch.equal(crd.student_memory, same.student_memory)
    for a, b in zip(crd.parameters(), same.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_z_is_the_mean_at_the_first_batch_times_the_samples_and_stays():
    crd = make(known=False)
    student, teacher, labels, index = batch()
    _, negatives = crd._draw(crd.classes.index_copy(0, index, labels), labels, index)
    rows = torch.cat([index[:, None], negatives], 1)
    pair = F.normalize(crd.student(student)), F.normalize(crd.teacher(teacher))
    for e, memory, log_z in zip(pair, (crd.teacher_memory, crd.student_memory), crd.log_z, strict=True):
        scores = (memory[rows] @ e.unsqueeze(2)).squeeze(2) / 0.07
        torch.testing.assert_close(log_z, (scores.exp().mean() * 60).log().detach())
    before = crd.log_z.clone()
    for seed in range(3):
        crd(*batch(seed))
    assert torch.equal(crd.log_z, before)


def test_the_memory_starts_uniform_and_moves_to_unit_rows():
    crd = make(momentum=0.5).train()
    assert crd.student_memory.abs().max() <= (3 / 8) ** 0.5
    assert crd.student_memory.var() == pytest.approx(1 / 8, rel=0.2)
    student, teacher, labels, index = batch(1)
    before = crd.student_memory.clone(), crd.teacher_memory.clone()
    crd(student, teacher, labels, index)
    pair = F.normalize(crd.student(student)), F.normalize(crd.teacher(teacher))
    rest = torch.ones(60, dtype=torch.bool)
    rest[index] = False
    for old, new, e in zip(before, (crd.student_memory, crd.teacher_memory), pair, strict=True):
        torch.testing.assert_close(new[index], F.normalize(0.5 * old[index] + 0.5 * e).detach())
        assert torch.equal(new[rest], old[rest])


def test_evaluation_changes_nothing():
    crd = make(known=False).eval()
    before = copy.deepcopy(crd.state_dict())
    crd(*batch(1))
    assert all(torch.equal(value, before[key]) for key, value in crd.state_dict().items())


@pytest.mark.parametrize(("samples", "negatives"), [(60, 20), (60, 500), (400, 7)])
def test_all_samples_of_other_classes_are_as_likely(samples: int, negatives: int):
    crd = make(samples, negatives)
    *_, labels, index = batch(1, samples)
    steps, counts = 40_000 // negatives, torch.zeros(len(labels), samples)
    for _ in range(steps):
        drawn = crd._draw(crd.classes, labels, index)[1]
        counts.scatter_add_(1, drawn, torch.ones(drawn.shape))
        crd.step += 1
    for label, count in zip(labels, counts, strict=True):
        own = torch.arange(samples) % CLASSES == label
        assert (count[own] == 0).all()
        expected = steps * negatives / (~own).sum()
        assert ((count[~own] - expected) / expected**0.5).abs().max() < 5  # no more than by independent draws
        halves = count[: samples // 2].sum() / count.sum()
        assert halves == pytest.approx(0.5, abs=0.01)


def test_negatives_are_new_at_each_step_and_hardly_one_comes_twice():
    crd = make(6000, 1000)
    *_, labels, index = batch(1, 6000)
    _, first = crd._draw(crd.classes, labels, index)
    crd.step += 1
    _, second = crd._draw(crd.classes, labels, index)
    for one, two, other in zip(first, second, first.roll(1, 0), strict=True):
        assert len(one.unique()) > 940  # 924 by independent draws
        for another in (two, other):
            assert torch.isin(one, another).double().mean() == pytest.approx(1 / 6, abs=0.05)
            assert (one == another).double().mean() < 0.25


@pytest.mark.parametrize(("samples", "negatives"), [(10, 3), (3, 10), (50_000, 16_384), (7, 7), (2**30, 5)])
def test_each_part_gives_one_sample(samples: int, negatives: int):
    ends = torch.tensor([-(2**31), 2**31 - 1, 0], dtype=torch.int32)
    low, high, middle = _spread(ends[:, None].expand(3, negatives), samples).long()
    part = torch.arange(negatives) * samples
    assert torch.equal(low, part // negatives)
    rounding = samples / negatives / 2**23
    assert (high <= (part + samples) // negatives + rounding).all()
    assert high[-1] < samples
    assert ((middle - (part + samples / 2) / negatives).abs() <= 1 + rounding).all()


def test_draws_belong_to_the_sample_and_not_to_its_place():
    crd, order = make(), torch.tensor([4, 2, 0, 5, 1, 3])
    _, _, labels, index = batch(1)
    _, plain = crd._draw(crd.classes, labels, index)
    assert torch.equal(crd._draw(crd.classes, labels[order], index[order])[1], plain[order])


def test_relaxed_positives_are_any_of_the_class():
    crd = make(mode="relax")
    _, _, labels, index = batch(1)
    seen = set()
    for _ in range(100):
        positives, _ = crd._draw(crd.classes, labels, index)
        assert torch.equal(positives % CLASSES, labels)
        seen.add(int(positives[0]))
        crd.step += 1
    assert len(seen) == 12


def test_classes_are_learned_as_samples_come_by():
    crd = make(known=False).train()
    *_, labels, index = batch(1)
    crd(*batch(1))
    expected = torch.full((60,), -1).index_copy(0, index, labels)
    assert torch.equal(crd.classes, expected)


def test_one_class_alone_does_not_crash():
    crd = make(known=False)
    crd.classes.zero_()
    student, teacher, labels, index = batch(1)
    for shared in (False, True):
        crd.shared = shared
        assert crd(student, teacher, torch.zeros_like(labels), index).isfinite().all()


@pytest.mark.parametrize("shared", [False, True])
def test_a_resumed_run_is_the_same_to_the_last_bit(shared: bool):
    def steps(crd: CRD, seeds: range) -> list[Tensor]:
        optimizer = torch.optim.SGD(crd.parameters(), lr=0.1)
        values = []
        for seed in seeds:
            optimizer.zero_grad()
            value = crd(*batch(seed)).mean()
            value.backward()
            optimizer.step()
            values.append(value.detach())
        return values

    whole = make(known=False, shared=shared).train()
    expected = steps(whole, range(6))
    first = make(known=False, shared=shared).train()
    steps(first, range(3))
    torch.manual_seed(99)
    second = CRD(samples=60, negatives=20, dim=8, shared=shared).build(*batch(5)).train()
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(steps(second, range(3, 6)), expected[3:], strict=True))
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in second.state_dict().items())


def test_a_compiled_step_in_training_is_one_graph_and_moves_the_memory():
    torch._dynamo.reset()
    eager, crd = make(dtype=torch.float32).train(), make(dtype=torch.float32).train()
    compiled = torch.compile(crd, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        value, expected = compiled(*batch(seed, dtype=torch.float32)), eager(*batch(seed, dtype=torch.float32))
        torch.testing.assert_close(value, expected)
        value.sum().backward()
        expected.sum().backward()
    for (key, value), expected in zip(crd.state_dict().items(), eager.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, msg=key)
    for a, b in zip(crd.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_an_edge_of_a_graph_trains_it():
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Linear(3, d), nn.Linear(d, CLASSES)) for d in (7, 4))
    edge = mt.Edge(("teacher.0", "labels", "index"), "student.0", CRD(samples=60, negatives=20, dim=8))
    index = torch.arange(8)
    inputs, labels = torch.randn(8, 3), index % CLASSES
    graph = mt.Graph({"teacher": mt.freeze(teacher), "student": student}, [edge], example=(inputs, labels, index))
    (value,) = graph(inputs, labels, index).values()
    value.backward()
    assert student[0].weight.grad.abs().sum() > 0
    assert edge.loss.step == 1
    assert {"loss.step", "loss.seed", "loss.student_memory"} <= {
        k.split(".", 2)[2] for k in graph.state_dict() if "owned" in k
    }


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("mode", ["exact", "relax"])
def test_labels_and_indices_are_any_integers(mode: str, dtype: torch.dtype):
    student, teacher, labels, index = batch()
    values = []
    for kind in (torch.int64, dtype):
        torch.manual_seed(0)
        crd = CRD(samples=60, negatives=20, mode=mode)
        crd.build(student, teacher, labels.to(kind), index.to(kind))
        values.append(crd(student, teacher, labels.to(kind), index.to(kind)))
        assert crd.classes[index].tolist() == labels.tolist()
    assert torch.equal(*values)


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"needs integer labels \[N\], got torch.float64 \[6, 5\]"):
        CRD(samples=60).build(*batch()[:2], torch.rand(6, 5, dtype=DOUBLE), batch()[3])
    student, teacher, labels, index = batch()
    with pytest.raises(RunError, match="build"):
        CRD(samples=60)(student, teacher, labels, index)
    with pytest.raises(UsageError, match=r"sample .* is not among samples=3"):
        CRD(samples=3).build(student, teacher, labels, index)
    crd = make()
    with pytest.raises(UsageError, match="built for widths"):
        crd.build(teacher, student, labels, index)
    with pytest.raises(UsageError, match="needs integer labels"):
        crd(student, teacher, labels.float(), index)
    with pytest.raises(UsageError, match=r"differ in length: \[6, 6, 6, 2\]"):
        crd(student, teacher, labels, index[:2])
    with pytest.raises(UsageError, match="did you mean 'relax'"):
        CRD(samples=3, mode="relaxed")
    with pytest.raises(UsageError, match="must be positive"):
        CRD(samples=0)
    with pytest.raises(UsageError, match="momentum"):
        CRD(samples=3, momentum=1.0)
