import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch.transferability import ridge


def slow(x: Tensor, labels: Tensor) -> float:
    """Every sample really left out, for every penalty; the best by squared error."""
    y = torch.nn.functional.one_hot(labels).double()
    centred = x - x.mean(0)
    squares = torch.linalg.svdvals(centred).square()
    middle = squares[squares > 1e-12 * squares[0]].mean()
    best = (torch.inf, 0.0)
    for power in range(-6, 7):
        predictions = []
        for i in range(len(x)):
            rest = torch.arange(len(x)) != i
            # leaving out of the centred design, with an unpenalized intercept
            a = torch.cat([centred[rest], torch.ones(len(x) - 1, 1)], dim=1)
            penalty = torch.diag(torch.cat([torch.full((x.shape[1],), float(middle) * 10.0**power), torch.zeros(1)]))
            w = torch.linalg.solve(a.mT @ a + penalty.double(), a.mT @ y[rest])
            predictions.append(torch.cat([centred[i], torch.ones(1)]) @ w)
        predicted = torch.stack(predictions)
        error = float((predicted - y).square().sum())
        best = min(best, (error, float((predicted.argmax(1) == labels).double().mean())))
    return best[1]


@given(seed=st.integers(0, 99), separation=st.floats(0, 2))
@settings(max_examples=5)
def test_equals_leaving_out_for_real(planted, seed: int, separation: float):
    x, labels = planted(seed, separation, count=24, size=5, classes=3)
    assert float(ridge(x, labels)) == pytest.approx(slow(x, labels))


def test_noise_is_at_chance_with_any_number_of_dimensions():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    for size in (5, 400):
        assert float(ridge(torch.randn(200, size, generator=generator), labels)) < 0.4


def test_separated_classes_are_all_right(planted):
    assert float(ridge(*planted(0, 10.0))) == 1
