import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Uninformative, logme


def evidence(x: Tensor, y: Tensor, log_alpha: float, log_beta: float) -> float:
    """Log-density of y under the model, from its N x N covariance, over N."""
    covariance = torch.eye(len(x)).double() / math.exp(log_beta) + x @ x.mT / math.exp(log_alpha)
    density = torch.distributions.MultivariateNormal(torch.zeros(len(x)).double(), covariance)
    return float(density.log_prob(y)) / len(x)


def brute_force(x: Tensor, y: Tensor) -> float:
    found = [
        minimize(
            lambda p: -evidence(x, y, *p), start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}
        ).fun
        for start in ([0.0, 0.0], [3.0, 2.0])
    ]
    return -min(found)


def fixed_point(x: Tensor, y: Tensor, steps: int) -> list[float]:
    """The published iteration, its evidence after every step."""
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    sigma, along = s.square(), (u.mT @ y).square()
    beyond = y.square().sum() - along.sum()
    alpha = beta = 1.0
    values = []
    for _ in range(steps):
        t = alpha / beta
        gamma = float((sigma / (sigma + t)).sum())
        alpha = gamma / float((sigma * along / (t + sigma).square()).sum())
        beta = (len(x) - gamma) / float((along / (1 + sigma / t).square()).sum() + beyond)
        values.append(evidence(x, y, math.log(alpha), math.log(beta)))
    return values


@pytest.mark.parametrize("shape", [(30, 5), (12, 12), (14, 40)])
@given(seed=st.integers(0, 99))
@settings(max_examples=4)
def test_is_the_maximum_of_the_evidence(shape: tuple[int, int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    y = x[:, 0] + 0.7 * torch.randn(shape[0], generator=generator, dtype=torch.float64)
    value = float(logme(x, y))
    if shape[0] > shape[1]:
        assert value == pytest.approx(brute_force(x, y), abs=1e-6)
    assert value >= brute_force(x, y) - 1e-6
    assert value >= max(fixed_point(x, y, 20)) - 1e-9


def test_reference_values(reference):
    a, b = logme(*reference("A")[:2]), logme(*reference("B")[:2])
    assert float(a) == pytest.approx(0.08492216897821936, abs=1e-12)
    assert float(a) == pytest.approx(0.08487215420599516, abs=1e-4)  # as at ICML, stopped early
    assert float(b) == pytest.approx(-0.00696819787, abs=1e-6)
    assert float(b) > -0.006970169690401702  # an iteration that stops early


def test_regression_reference_value():
    rs = np.random.RandomState(0)
    x = rs.randn(200, 32)
    y = x @ rs.randn(32, 3) + 0.5 * rs.randn(200, 3)
    value = logme(torch.from_numpy(x), torch.from_numpy(y))
    assert float(value) == pytest.approx(-1.2402173947820232, abs=1e-10)


def test_columns_are_averaged(planted):
    x, labels = planted(0)
    columns = torch.nn.functional.one_hot(labels)
    each = torch.stack([logme(x, column.double()) for column in columns.unbind(1)])
    torch.testing.assert_close(logme(x, labels), each.mean())
    torch.testing.assert_close(logme(x, columns), each.mean())
    torch.testing.assert_close(logme(x, columns.bool()), each.mean())


def test_fewer_samples_than_dimensions_is_not_rewarded():
    x = torch.randn(50, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(logme(x, torch.arange(50) % 5)) < 0.1  # a public implementation gives 6.6
    padded = torch.cat([x, torch.zeros(50, 300)], dim=1)  # dimensions that say nothing change nothing
    torch.testing.assert_close(logme(padded, torch.arange(50) % 5), logme(x, torch.arange(50) % 5))


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e15])
def test_any_scale(planted, scale: float):
    x, labels = planted(0)
    torch.testing.assert_close(logme(scale * x, labels), logme(x, labels))


def test_an_exact_fit_has_no_maximum_and_says_so():
    labels = torch.arange(20) % 2
    with pytest.warns(Uninformative, match="2 of 2 targets exactly"):
        value = logme(torch.nn.functional.one_hot(labels).double(), labels)
    assert value.isfinite()


def test_constant_targets_are_left_out(planted):
    x, labels = planted(0)
    columns = torch.stack([labels == 0, labels == 9, labels == 1], dim=1)
    with pytest.warns(Uninformative, match="1 of 3 labels or targets are constant"):
        value = logme(x, columns)
    torch.testing.assert_close(value, logme(x, columns[:, [0, 2]]))
    with pytest.raises(UsageError, match="no label or target varies"):
        logme(x, torch.zeros(60, 2))
    with pytest.raises(RunError, match="logme: labels: not finite"):
        logme(x, torch.full((60,), torch.nan))
    with pytest.raises(UsageError, match=r"for 60 samples, got \[60, 2, 2\]"):
        logme(x, torch.zeros(60, 2, 2))
