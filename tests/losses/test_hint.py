import pytest
import torch
import torch.nn.functional as F

from mentorch._errors import UsageError
from mentorch.losses import Regressor, hint


def test_golden_values(golden, near):
    near(hint(golden.student_map, golden.teacher_map), [0.85, 2.2])


def test_equals_the_formula(golden):
    student, teacher = golden.student_map.tolist(), golden.teacher_map.tolist()
    for b, value in enumerate(hint(golden.student_map, golden.teacher_map)):
        cells = [(c, h, w) for c in range(2) for h in range(2) for w in range(2)]
        squares = [(student[b][c][h][w] - teacher[b][c][h][w]) ** 2 for c, h, w in cells]
        assert float(value) == pytest.approx(sum(squares) / 8, rel=1e-12)


def test_mean_is_the_mean_squared_error(golden):
    value = hint(golden.student_map, golden.teacher_map).mean()
    torch.testing.assert_close(value, F.mse_loss(golden.student_map, golden.teacher_map))


def test_zero_at_equality_and_vectors_work():
    x = torch.randn(3, 5)
    assert torch.equal(hint(x, x), torch.zeros(3))


def test_large_activations_survive_half_precision():
    x = torch.full((2, 512, 8, 8), 300.0, dtype=torch.float16)
    assert torch.equal(hint(x, torch.zeros_like(x)), torch.full((2,), 90000.0))


def test_gradient_reaches_the_regressor():
    student, teacher = torch.rand(4, 3, 4, 4), torch.rand(4, 5, 4, 4)
    regressor = Regressor().build(student, teacher)
    hint(regressor(student), teacher).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in regressor.parameters())


def test_a_mismatch_points_to_the_adapter():
    with pytest.raises(UsageError, match=r"\[2, 3, 4, 4\] and teacher \[2, 5, 4, 4\].*adapter.*Regressor"):
        hint(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
