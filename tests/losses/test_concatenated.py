import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.losses import Concatenated, kd

OVERLAPPING = ((0, 1, 2), (3, 1), (-1, 4, 2, -1, 0))  # five classes of the student; class 1, 2 and 0 have two owners
DISJOINT = ((0, 1, 2), (3, 4))
TARGETS = ["joint", "standardized", "confidence", "energy", "per_teacher", "mse"]
MIXED = ["joint", "standardized", "confidence", "energy"]


def softmax(row: Sequence[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def divergence(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def z_scores(row: list[float]) -> list[float]:
    if len(row) == 1:
        return [0.0]
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / (len(row) - 1))
    return [(x - mean) / deviation for x in row]


def slow(z: list[float], teachers: list[list[float]], blocks, target: str, t: float, tau: Sequence[float]) -> float:
    """The definitions for one sample, class by class."""
    kept = [[(k, v) for k, v in zip(b, row, strict=True) if k >= 0] for b, row in zip(blocks, teachers, strict=True)]
    named = [([k for k, _ in pairs], [v for _, v in pairs]) for pairs in kept]
    if target == "standardized":
        named = [(ks, z_scores(vs)) for ks, vs in named]
    else:
        named = [(ks, [v / c for v in vs]) for (ks, vs), c in zip(named, tau, strict=True)]
    if target == "per_teacher":
        pairs = [(softmax([v / t for v in vs]), softmax([z[k] / t for k in ks])) for ks, vs in named]
        return t**2 * sum(divergence(p, q) for p, q in pairs)
    classes = range(len(z))
    said = {k: [dict(zip(ks, vs, strict=True))[k] for ks, vs in named if k in ks] for k in classes}
    u = [sum(said[k]) / len(said[k]) for k in classes]
    if target == "mse":
        return sum((a - b) ** 2 for a, b in zip(z, u, strict=True)) / len(z)
    if target in ("joint", "standardized"):
        p = softmax([x / t for x in u])
    else:
        trust = [max(softmax(vs)) if target == "confidence" else sum(map(math.exp, vs)) for _, vs in named]
        p = [0.0 for _ in classes]
        for (ks, vs), own in zip(named, trust, strict=True):
            for k, share in zip(ks, softmax([v / t for v in vs]), strict=True):
                p[k] += own / sum(trust) * share
    return t**2 * divergence(p, softmax([x / t for x in z]))


def logits(blocks, seed: int = 0, rows: int = 3) -> tuple[Tensor, list[Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    widths = [1 + max(k for block in blocks for k in block), *map(len, blocks)]
    z, *teachers = (2 * torch.randn(rows, width, generator=draw, dtype=torch.float64) for width in widths)
    return z, teachers


@pytest.mark.parametrize("blocks", [DISJOINT, OVERLAPPING, ((1, 0), (2,))], ids=["disjoint", "overlapping", "alone"])
@pytest.mark.parametrize("target", TARGETS)
@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 8), tau=st.floats(0.3, 3))
def test_equals_the_formula(target: str, blocks, seed: int, temperature: float, tau: float):
    z, teachers = logits(blocks, seed)
    calibration = [tau, 1.0, 1.5][: len(blocks)]
    loss = Concatenated(blocks=blocks, target=target, temperature=temperature, calibration=calibration)
    found = loss.build(z, *teachers)(z, *teachers)
    expected = [
        slow(z[i].tolist(), [v[i].tolist() for v in teachers], blocks, target, temperature, calibration)
        for i in range(len(z))
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("target", MIXED)
@pytest.mark.parametrize("blocks", [DISJOINT, OVERLAPPING], ids=["disjoint", "overlapping"])
def test_zero_where_the_student_says_what_the_teachers_say(target: str, blocks):
    z, teachers = logits(blocks)
    loss = Concatenated(blocks=blocks, target=target).build(z, *teachers)
    said = loss.log_target(*teachers)
    torch.testing.assert_close(said.exp().sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(loss(said + 7.0, *teachers), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (loss(z, *teachers) > 1e-3).all()


def test_one_teacher_is_plain_distillation():
    z, (v, _) = logits(DISJOINT)
    z = z[:, :3]
    for target in ("joint", "confidence", "energy", "per_teacher"):
        loss = Concatenated(target=target, temperature=3.0).build(z, v)
        torch.testing.assert_close(loss(z, v), kd(z, v, temperature=3.0))


def test_energy_is_the_joint_softmax_while_both_are_at_one():
    z, teachers = logits(DISJOINT)
    joint, energy = (Concatenated(target=t).build(z, *teachers) for t in ("joint", "energy"))
    torch.testing.assert_close(energy(z, *teachers), joint(z, *teachers))
    hot = [Concatenated(target=t, temperature=4.0).build(z, *teachers)(z, *teachers) for t in ("joint", "energy")]
    assert not torch.allclose(*hot)


def test_permuting_teachers_permutes_blocks():
    z, (a, b) = logits(DISJOINT)
    for target in TARGETS:
        one = Concatenated(target=target).build(z, a, b)(z, a, b)
        swapped = torch.cat([z[:, 3:], z[:, :3]], 1)
        torch.testing.assert_close(Concatenated(target=target).build(swapped, b, a)(swapped, b, a), one)


def test_what_the_targets_do_about_scale():
    z, (a, b) = logits(DISJOINT)

    def share(target: str, scale: float, **options) -> Tensor:
        loss = Concatenated(target=target, **options).build(z, a, b)
        return loss.log_target(scale * a, b).exp()[:, :3].sum(1)

    loud = share("joint", 20.0)
    assert ((loud > 0.99) | (loud < 0.01)).all()  # the loud teacher alone decides
    torch.testing.assert_close(share("standardized", 20.0), share("standardized", 1.0))
    torch.testing.assert_close(share("joint", 20.0, calibration=(20.0, 1.0)), share("joint", 1.0))
    assert (share("confidence", 20.0) < 0.8).all()
    # per_teacher leaves it open altogether: what the student gives each block is its own affair
    loss = Concatenated(target="per_teacher").build(z, a, b)
    shifted = z + torch.tensor([5.0, 5.0, 5.0, 0.0, 0.0])
    torch.testing.assert_close(loss(shifted, a, b), loss(z, a, b))


def test_classes_that_were_not_chosen_do_not_count():
    z, teachers = logits(OVERLAPPING)
    loss = Concatenated(blocks=OVERLAPPING).build(z, *teachers)
    changed = [*teachers[:2], teachers[2] + torch.tensor([9.0, 0, 0, -9.0, 0])]
    torch.testing.assert_close(loss(z, *changed), loss(z, *teachers))


@pytest.mark.parametrize("blocks", [DISJOINT, OVERLAPPING])
def test_it_says_which_classes_a_teacher_has(blocks):
    loss = Concatenated(blocks=blocks)
    assert tuple(tuple(loss.classes_of(m).tolist()) for m in range(len(blocks))) == tuple(map(tuple, blocks))
    with pytest.raises(RunError, match="does not know the teachers' classes yet"):
        Concatenated().classes_of(0)


def test_published_form_is_the_soft_cross_entropy_up_to_a_constant():
    z, (a, b) = logits(DISJOINT)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(Concatenated().build(z, a, b)(z, a, b).sum(), z)
    p = torch.cat([a, b], 1).softmax(1)
    torch.testing.assert_close(gradient, z.detach().softmax(1) - p)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Concatenated(target="all"), UsageError, "unknown target of Concatenated 'all'"),
        (lambda: Concatenated(temperature=0.0), UsageError, "must be positive, not 0.0"),
        (lambda: Concatenated(calibration=(1.0, -1.0)), UsageError, "must be positive"),
        (lambda: Concatenated(blocks=((0,), (2,))), UsageError, "class 1 of the student is known by no teacher"),
        (lambda: Concatenated(blocks=((0, 0),)), UsageError, "two classes that are one"),
        (lambda: Concatenated(blocks=((0,), (-1,))), UsageError, "teacher 1 knows no class of the student"),
        (lambda: Concatenated()(torch.ones(1, 2), torch.ones(1, 2)), RunError, "does not know the teachers' classes"),
        (lambda: Concatenated().build(torch.ones(1, 2)), UsageError, "at least one teacher"),
        (
            lambda: Concatenated().build(torch.ones(1, 5), torch.ones(1, 2), torch.ones(1, 2)),
            UsageError,
            r"built for 4 classes, .* the student shows \[1, 5\]: give it a head of 4",
        ),
        (
            lambda: Concatenated(blocks=((0, 1),)).build(torch.ones(1, 2), torch.ones(1, 3)),
            UsageError,
            r"teacher 0 shows \[1, 3\], its block has 2 classes",
        ),
        (
            lambda: Concatenated(blocks=((0,), (1,))).build(torch.ones(1, 2), torch.ones(1, 1)),
            UsageError,
            "2 blocks of classes for 1 teachers",
        ),
        (
            lambda: Concatenated(calibration=(1.0,)).build(torch.ones(1, 2), torch.ones(1, 1), torch.ones(1, 1)),
            UsageError,
            "1 calibrations for 2 teachers",
        ),
    ],
)
def test_wrong_use_is_named(make, error, message: str):
    with pytest.raises(error, match=message):
        make()
