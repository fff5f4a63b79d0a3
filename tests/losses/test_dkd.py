import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import dkd, kd


def slow(z: list[float], v: list[float], y: int, temperature: float) -> tuple[float, float]:
    """Both terms of one sample, number by number."""
    q, p = ([math.exp(x / temperature) for x in row] for row in (z, v))
    qy, py = q[y] / sum(q), p[y] / sum(p)
    true = py * math.log(py / qy) + (1 - py) * math.log((1 - py) / (1 - qy))
    q, p = ([x for c, x in enumerate(row) if c != y] for row in (q, p))
    others = sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return true, others


def case(seed: int, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, v = (3 * torch.randn(5, classes, dtype=torch.float64, generator=generator) for _ in range(2))
    return z, v, torch.randint(classes, (5,), generator=generator)


@pytest.mark.parametrize(
    ("options", "scale", "expected"),
    [
        ({"beta": 0.0}, 16, [0.018147, 0, 0.000499, 0.095093]),
        ({"alpha": 0.0, "beta": 1.0}, 16, [0.068707, 0, 0.001932, 0.007792]),
        ({}, 1, [9.084844, 0, 0.255237, 2.518895]),
    ],
)
def test_golden_values(golden, near, options, scale, expected):
    near(dkd(golden.student, golden.teacher, golden.labels, **options) / scale, expected)


def test_golden_means(golden, near):
    near(dkd(golden.student, golden.teacher, golden.labels).mean(), 2.964744)
    near(dkd(golden.student, golden.teacher, golden.labels, temperature=1.0).mean(), 2.327552)


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 10), alpha=st.floats(0, 3), beta=st.floats(0, 9))
def test_equals_the_formula(seed: int, temperature: float, alpha: float, beta: float):
    z, v, y = case(seed)
    terms = [slow(*row, temperature) for row in zip(z.tolist(), v.tolist(), y.tolist(), strict=True)]
    expected = torch.tensor([temperature**2 * (alpha * a + beta * b) for a, b in terms], dtype=torch.float64)
    value = dkd(z, v, y, alpha=alpha, beta=beta, temperature=temperature)
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-9)


@given(seed=st.integers(0, 99), temperature=st.floats(1, 10))
def test_the_terms_add_up_to_kd(seed: int, temperature: float):
    z, v, y = case(seed)
    true, others = (dkd(z, v, y, alpha=a, beta=1.0 - a, temperature=temperature) for a in (1.0, 0.0))
    p_y = (v / temperature).softmax(1).gather(1, y[:, None]).squeeze(1)
    torch.testing.assert_close(true + (1 - p_y) * others, kd(z, v, temperature=temperature), rtol=1e-12, atol=1e-12)


def test_each_term_sees_only_its_part():
    z, v, y = case(0)
    shuffled = z.clone()
    for row, label in zip(shuffled, y, strict=True):
        others = torch.arange(6) != label
        row[others] = row[others].flip(0)  # the same probability of the true class
    torch.testing.assert_close(dkd(shuffled, v, y, beta=0.0), dkd(z, v, y, beta=0.0))
    boosted = z.scatter_add(1, y[:, None], torch.full((5, 1), 7.0, dtype=torch.float64))
    torch.testing.assert_close(dkd(boosted, v, y, alpha=0.0), dkd(z, v, y, alpha=0.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_finite_at_scale_600_whatever_the_label(dtype: torch.dtype, temperature: float):
    z = torch.tensor([[600.0, 0.0, -600.0]] * 3, dtype=dtype, requires_grad=True)
    v = torch.tensor([[-600.0, 600.0, 0.0]] * 3, dtype=dtype)
    value = dkd(z, v, torch.arange(3), temperature=temperature)
    value.sum().backward()
    assert value.isfinite().all()
    assert z.grad.isfinite().all()
    exact = dkd(z.detach().double(), v.double(), torch.arange(3), temperature=temperature)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


def test_zero_at_equality():
    _, v, y = case(3)
    assert dkd(v + 5, v, y).abs().max() < 1e-10
    assert dkd(9 * v + 5, v, y).min() > 1e-3


def test_labels_may_be_any_integers_type_and_pixels_are_averaged():
    z, v, y = case(0)
    torch.testing.assert_close(dkd(z, v, y.to(torch.uint8)), dkd(z, v, y))
    dense = [x.T[None, :, None] for x in (z, v)]  # five pixels in a row
    torch.testing.assert_close(dkd(*dense, y[None, None]), dkd(z, v, y).mean()[None])


def test_wrong_use_is_named():
    z = torch.zeros(2, 3)
    with pytest.raises(UsageError, match="at least 3 classes, got 2"):
        dkd(z[:, :2], z[:, :2], torch.tensor([0, 1]))
    with pytest.raises(UsageError, match=r"integer labels, got torch\.float32"):
        dkd(z, z, z)
    with pytest.raises(UsageError, match=r"\[2, 3\] and teacher \[2, 4\]"):
        dkd(z, torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="temperature must be positive, not -1"):
        dkd(z, z, torch.tensor([0, 1]), temperature=-1)
