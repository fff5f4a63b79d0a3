import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import rkd

DOUBLE = torch.float64


def embeddings(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def by_hand(student: list[list[float]], teacher: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and angles, pair by pair and triple by triple."""
    n = len(student)

    def distances(rows: list[list[float]]) -> list[list[float]]:
        plain = [[math.dist(a, b) for b in rows] for a in rows]
        mean = sum(map(sum, plain)) / (n * (n - 1))
        return [[x / mean for x in row] for row in plain]

    def angle(rows: list[list[float]], i: int, j: int, k: int) -> float:
        if i in (j, k):
            return 0.0
        a, b = ([x - y for x, y in zip(rows[m], rows[i], strict=True)] for m in (j, k))
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    d, t = distances(student), distances(teacher)
    near = [sum(huber(d[i][j] - t[i][j]) for j in range(n)) / n for i in range(n)]
    turn = [
        sum(huber(angle(student, i, j, k) - angle(teacher, i, j, k)) for j in range(n) for k in range(n)) / n**2
        for i in range(n)
    ]
    return torch.tensor(near, dtype=DOUBLE), torch.tensor(turn, dtype=DOUBLE)


def test_golden_values(golden, near):
    plain = rkd(golden.student_embedding, golden.teacher_embedding, distance=1.0, angle=1.0)
    near(plain["distance"].mean(), 0.0424807)
    near(plain["angle"].mean(), 0.0365772)
    published = rkd(golden.student_embedding, golden.teacher_embedding)
    near(published["distance"].mean() + published["angle"].mean(), 2.890877)


@given(seed=st.integers(0, 99))
def test_equals_the_formula(seed: int):
    student, teacher = embeddings(seed, 5, 3), 3 * embeddings(seed + 100, 5, 4)
    distance, angle = by_hand(student.tolist(), teacher.tolist())
    terms = rkd(student, teacher)
    torch.testing.assert_close(terms["distance"], 25 * distance)
    torch.testing.assert_close(terms["angle"], 50 * angle)


@given(seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3))
def test_place_rotation_and_scale_do_not_matter(seed: int, scale: float):
    student, teacher = embeddings(seed, 6, 4), embeddings(seed + 100, 6, 5)
    moved = scale * student @ torch.linalg.qr(embeddings(seed + 200, 4, 4)).Q + embeddings(seed + 300, 4)
    expected = rkd(student, teacher)
    for term, value in rkd(moved, teacher).items():
        torch.testing.assert_close(value, expected[term])
    assert all(value.abs().max() < 1e-9 for value in rkd(moved, student).values())


def test_float32_far_from_the_origin_is_accurate():
    student, teacher = embeddings(0, 32, 64) + 10, embeddings(1, 32, 64)
    expected, found = rkd(student, teacher), rkd(student.float(), teacher.float())
    for term, value in found.items():
        torch.testing.assert_close(value.to(DOUBLE), expected[term], rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_equal_rows_are_one_point_without_gradient_between_them(dtype: torch.dtype):
    student, teacher = embeddings(0, 5, 3).to(dtype), embeddings(1, 5, 4).to(dtype)
    student[1] = student[0]
    student.requires_grad_()
    terms = rkd(student, teacher)
    (terms["distance"] + terms["angle"]).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 1e3
    everywhere = torch.ones(4, 3, dtype=dtype, requires_grad=True)
    sum(term.sum() for term in rkd(everywhere, teacher[:4]).values()).backward()
    assert (everywhere.grad == 0).all()


def test_a_weight_of_zero_leaves_a_term_out():
    student, teacher = embeddings(0, 5, 3), embeddings(1, 5, 4)
    assert list(rkd(student, teacher, angle=0.0)) == ["distance"]
    assert list(rkd(student, teacher, distance=0.0)) == ["angle"]


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(UsageError, match="rkd: compares the samples of a batch, so it needs 2 or more, got 1"):
        rkd(x[:1], x[:1])
    with pytest.raises(UsageError, match="rkd: needs one batch, got 3 and 2 samples"):
        rkd(x, x[:2])
    with pytest.raises(UsageError, match="rkd: distance and angle are both 0"):
        rkd(x, x, distance=0.0, angle=0.0)
