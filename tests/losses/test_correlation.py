import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import RunError, UsageError
from mentorch.losses import Correlation

DOUBLE = torch.float64
STUDENT = torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=DOUBLE)
TEACHER = torch.tensor([[0, 1], [1, 1], [2, 0]], dtype=DOUBLE)


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def plain(student: torch.Tensor, teacher: torch.Tensor, **options) -> Correlation:
    """With layers that change nothing."""
    loss = Correlation(dim=student.shape[1], **options).build(student, teacher)
    for layer in (loss.student, loss.teacher):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return loss


def test_golden_values(near):
    near(plain(STUDENT, TEACHER, variant="released")(STUDENT, TEACHER), 1.0)
    near(plain(STUDENT, TEACHER)(STUDENT, TEACHER), [0.0708817, 0.0354409, 0.0354409])


@given(seed=st.integers(0, 99), gamma=st.floats(0.1, 2.0), order=st.integers(1, 5))
def test_the_paper_form_equals_the_formula(seed: int, gamma: float, order: int):
    student, teacher = features(seed, 5, 4), features(seed + 100, 5, 4)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        cosine = float(a @ b / (a.norm() * b.norm()))
        series = sum((2 * gamma * cosine) ** p / math.factorial(p) for p in range(order + 1))
        return math.exp(-2 * gamma) * series

    rows = [
        sum((kernel(s, u) - kernel(t, v)) ** 2 for u, v in zip(student, teacher, strict=True)) / 5
        for s, t in zip(student, teacher, strict=True)
    ]
    value = plain(student, teacher, gamma=gamma, order=order)(student, teacher)
    torch.testing.assert_close(value.detach(), torch.tensor(rows, dtype=DOUBLE))


def test_a_long_series_is_the_gaussian_kernel():
    student, teacher = (torch.nn.functional.normalize(features(seed, 5, 4)) for seed in (0, 1))
    k, t = (torch.exp(-0.4 * torch.cdist(x, x).square()) for x in (student, teacher))
    value = plain(student, teacher, order=25)(student, teacher)
    torch.testing.assert_close(value.detach(), (k - t).square().mean(1))


def test_the_bilinear_kernel_is_the_cosine():
    student, teacher = features(0, 5, 4), features(1, 5, 4)
    k, t = (torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2) for x in (student, teacher))
    value = plain(student, teacher, variant="bilinear")(student, teacher)
    torch.testing.assert_close(value.detach(), (k - t).square().mean(1))


def test_the_released_form_is_no_distance_and_ours_is():
    student, teacher = features(0, 4, 3), features(1, 4, 3)
    teacher[::2] = student[::2]  # every second row matches
    assert plain(student, teacher, variant="released")(student, teacher) == 0
    assert plain(student, teacher)(student, teacher).min() > 0
    assert plain(student, student)(student, student).abs().max() == 0


def test_the_released_form_equals_its_formula():
    student, teacher = features(0, 5, 3), features(1, 5, 3)
    expected = sum(
        float(((student[b] - teacher[b]).abs() * (student[b + 1] - teacher[b + 1]).abs()).sum()) for b in range(4)
    )
    value = plain(student, teacher, variant="released")(student, teacher)
    torch.testing.assert_close(value.detach(), torch.tensor(expected / 4, dtype=DOUBLE))


def test_both_layers_learn_and_the_teacher_does_not():
    student, teacher = features(0, 5, 3), features(1, 5, 4).requires_grad_()
    loss = Correlation().build(student, teacher)
    loss(student, teacher).sum().backward()
    assert loss.student.weight.shape == (128, 3)
    assert loss.teacher.weight.shape == (128, 4)
    assert all(p.grad.abs().sum() > 0 for p in (loss.student.weight, loss.teacher.weight))
    assert teacher.grad is None


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(RunError, match=r"build\(student, teacher\)"):
        Correlation()(x, x)
    loss = Correlation().build(x, x)
    with pytest.raises(UsageError, match=r"built for widths \(2, 2\), not \(2, 4\)"):
        loss.build(x, torch.ones(3, 4))
    with pytest.raises(UsageError, match="needs 2 or more, got 1"):
        loss(x[:1], x[:1])
    with pytest.raises(UsageError, match="needs one batch, got 3 and 2 samples"):
        loss(x, x[:2])
    with pytest.raises(UsageError, match="did you mean 'released'"):
        Correlation(variant="release")
    with pytest.raises(UsageError, match="must be positive"):
        Correlation(gamma=0.0)
