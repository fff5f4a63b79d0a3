import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import cka


def slow(x: Tensor, y: Tensor) -> float:
    """By centring matrices, as a ratio of independence criteria."""
    h = torch.eye(len(x)).double() - 1 / len(x)
    k, other = h @ x @ x.mT @ h, h @ y @ y.mT @ h
    return float((k * other).sum() / ((k * k).sum() * (other * other).sum()).sqrt())


def unbiased(k: Tensor, other: Tensor) -> Tensor:
    """Song et al. 2012: the unbiased estimate written with sums."""
    n = len(k)
    k, other = (m - torch.diag(m.diag()) for m in (k, other))
    whole = k.sum() * other.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ other.sum(0))
    return ((k * other).sum() + whole) / (n * (n - 3))


@given(seed=st.integers(0, 99))
@settings(max_examples=15)
def test_equals_the_independence_criteria(seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(10, size, generator=generator, dtype=torch.float64) for size in (4, 7))
    assert float(cka(x, y, debiased=False)) == pytest.approx(slow(x, y))
    k, other = x @ x.mT, y @ y.mT
    expected = unbiased(k, other) / (unbiased(k, k) * unbiased(other, other)).sqrt()
    assert float(cka(x, y)) == pytest.approx(float(expected))
    assert cka(x, y) == cka(y, x)


def test_unrelated_wide_features_are_unlike_only_without_bias():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(40, 500, generator=generator) for _ in range(2))
    assert float(cka(x, y, debiased=False)) > 0.8
    assert abs(float(cka(x, y))) < 0.1


@pytest.mark.parametrize("debiased", [True, False])
def test_rotated_scaled_and_shifted_features_are_the_same(debiased: bool):
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = 1e-9 * x @ torch.linalg.qr(x[:6]).Q + 5e-9
    assert float(cka(x, turned, debiased=debiased)) == pytest.approx(1)


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="3 samples of the candidate, 4 of the reference"):
        cka(torch.eye(3), torch.eye(4))
    with pytest.raises(UsageError, match="needs 4 samples or more, got 3"):
        cka(torch.eye(3), torch.eye(3))
