import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import kd


def slow(z: list[float], v: list[float], temperature: float) -> float:
    """The formula, number by number."""
    q, p = ([math.exp(x / temperature) for x in row] for row in (z, v))
    return temperature**2 * sum(
        a / sum(p) * (math.log(a / sum(p)) - math.log(b / sum(q))) for a, b in zip(p, q, strict=True)
    )


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, [0.995723, 0, 0.030990, 1.139572]),
        ({}, [1.030747, 0, 0.029478, 1.582054]),
    ],
)
def test_golden_values(golden, near, options, expected):
    near(kd(golden.student, golden.teacher, **options), expected)


def test_the_mean_is_over_samples_not_classes(golden, near):
    near(kd(golden.student, golden.teacher).mean(), 0.660570)


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 20), classes=st.integers(2, 8))
def test_equals_the_formula(seed: int, temperature: float, classes: int):
    z, v = logits(seed, 3, classes), logits(seed + 100, 3, classes)
    expected = [slow(a, b, temperature) for a, b in zip(z.tolist(), v.tolist(), strict=True)]
    torch.testing.assert_close(
        kd(z, v, temperature=temperature), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10
    )


@given(seed=st.integers(0, 99), shift=st.floats(-50, 50))
def test_constants_do_not_matter_and_nothing_else_is_free(seed: int, shift: float):
    z, v = logits(seed, 4, 5), logits(seed + 100, 4, 5)
    torch.testing.assert_close(kd(z + shift, v - 2 * shift), kd(z, v), rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(kd(v + shift, v), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-11)
    assert (kd(z, v) > 1e-6).all()


def test_gradient_is_the_difference_of_probabilities():
    z, v = logits(0, 4, 5).requires_grad_(), logits(1, 4, 5)
    kd(z, v, temperature=3.0).sum().backward()
    torch.testing.assert_close(z.grad, 3.0 * ((z / 3).softmax(1) - (v / 3).softmax(1)).detach())


def test_two_classes_are_a_coin():
    z, v = logits(0, 5, 2), logits(1, 5, 2)
    q, p = ((x[:, 0] - x[:, 1]).div(2).sigmoid() for x in (z, v))
    coin = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(kd(z, v, temperature=2.0), 4 * coin)


def test_hot_limit_is_the_squared_difference():
    z, v = logits(0, 4, 5), logits(1, 4, 5)
    difference = (z - z.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))
    torch.testing.assert_close(kd(z, v, temperature=1e4), difference.square().sum(1) / 10, rtol=1e-3, atol=0)


def test_t_squared_keeps_gradients_of_one_order():
    z, v = logits(0, 4, 5), logits(1, 4, 5)
    torch.testing.assert_close(kd(z, v), 16 * kd(z, v, t_squared=False))


def test_a_confident_mistake_is_corrected():
    z = torch.tensor([[40.0, 0.0]], requires_grad=True)
    kd(z, torch.tensor([[0.0, 40.0]]), temperature=1.0).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[1.0, -1.0]]))


def test_pixels_are_averaged():
    z, v = logits(0, 2, 5, 3, 4), logits(1, 2, 5, 3, 4)
    pixels = kd(*(x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (z, v)))
    torch.testing.assert_close(kd(z, v), pixels.view(2, 12).mean(1))


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"kd: student \[2, 3\] and teacher \[2, 4\] differ"):
        kd(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(UsageError, match="temperature must be positive, not 0"):
        kd(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0)
