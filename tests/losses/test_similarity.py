import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import similarity


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix(rows: list[list[float]]) -> list[list[float]]:
    """Normalised rows of all inner products, one by one."""
    result = []
    for a in rows:
        row = [sum(x * y for x, y in zip(a, b, strict=True)) for b in rows]
        norm = math.sqrt(sum(x * x for x in row))
        result.append([x / norm for x in row])
    return result


def test_golden_values(golden, near):
    value = similarity(golden.student_embedding, golden.teacher_embedding)
    near(value, [0.195262, 0.195262, 0.122336])
    near(value.mean(), 0.170953)


@given(seed=st.integers(0, 99))
def test_equals_the_formula(seed: int):
    student, teacher = features(seed, 5, 2, 2, 2), features(seed + 100, 5, 3, 2, 1)
    g, t = (torch.tensor(matrix(x.flatten(1).tolist()), dtype=torch.float64) for x in (student, teacher))
    torch.testing.assert_close(similarity(student, teacher).mean(), (g - t).square().sum() / 25)


@given(seed=st.integers(0, 99), scale=st.floats(1e-4, 1e4))
def test_rotations_and_scale_do_not_matter(seed: int, scale: float):
    student, teacher = features(seed, 6, 4), features(seed + 100, 6, 5)
    rotation = torch.linalg.qr(features(seed + 200, 4, 4)).Q
    torch.testing.assert_close(similarity(scale * student @ rotation, teacher), similarity(student, teacher))
    assert similarity(scale * student @ rotation, student).abs().max() < 1e-12


def test_large_and_small_maps_neither_overflow_nor_vanish():
    student, teacher = features(0, 4, 512, 8, 8).float(), features(1, 4, 64, 8, 8).float()
    expected = similarity(student, teacher)
    for scale in (1e-12, 1e12):
        torch.testing.assert_close(similarity(scale * student, scale * teacher), expected)


def test_zero_rows_are_like_nothing_and_safe():
    student, teacher = features(0, 5, 3), features(1, 5, 4)
    student[2] = 0
    student.requires_grad_()
    value = similarity(student, teacher)
    torch.testing.assert_close(value[2].detach(), torch.tensor(1 / 5, dtype=torch.float64))  # a unit row against zero
    value.sum().backward()
    assert student.grad.isfinite().all()
    nothing = torch.zeros(5, 3, requires_grad=True)
    similarity(nothing, teacher.float()).sum().backward()
    assert (nothing.grad == 0).all()


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(UsageError, match="similarity: compares the samples of a batch, so it needs 2 or more, got 1"):
        similarity(x[:1], x[:1])
    with pytest.raises(UsageError, match="similarity: needs one batch, got 3 and 2 samples"):
        similarity(x, x[:2])
