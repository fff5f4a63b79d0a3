import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from scipy.special import softmax
from torch import Tensor

from mentorch.transferability import Uninformative, sfda


def fit(x: np.ndarray, y: np.ndarray, shrinkage: float | None) -> tuple[np.ndarray, float]:
    """Posterior by the generalized eigenproblem of the published algorithm."""
    classes, size = range(y.max() + 1), x.shape[1]
    prior = np.bincount(y) / len(y)
    means = np.stack([x[y == c].mean(0) for c in classes])
    within = sum(prior[c] * np.cov(x[y == c].T, bias=True) for c in classes)
    if shrinkage is None:
        a = within.sum(1)
        for _ in range(3):
            b = within @ a / np.linalg.norm(within @ a)
            a = within @ b / np.linalg.norm(within @ b)
        shrinkage = max(float(np.exp(-5 * (a @ within @ b))), 1e-10)
    total = np.cov(x.T, bias=True)
    shrunk = [(1 - shrinkage) * s + shrinkage * np.trace(s) / size * np.eye(size) for s in (within, total)]
    _, vectors = eigh(shrunk[1] - shrunk[0], shrunk[0])
    weights = means @ vectors @ vectors.T
    return softmax(x @ weights.T - 0.5 * np.diag(means @ weights.T) + np.log(prior), axis=1), shrinkage


def slow(features: Tensor, labels: Tensor) -> float:
    x, y = features.numpy().copy(), labels.numpy()
    first, shrinkage = fit(x, y, None)
    keep = softmax(first, axis=1)[np.arange(len(y)), y][:, None]
    others = np.stack([x[y != label].mean(0) for label in y])
    second, _ = fit(keep * x + (1 - keep) * others, y, shrinkage)
    return float(second[np.arange(len(y)), y].mean())


def test_reference_values(reference):
    assert float(sfda(*reference("A")[:2])) == pytest.approx(0.7507000552615529, rel=1e-9)
    with pytest.warns(Uninformative, match="whatever their labels"):
        assert float(sfda(*reference("B")[:2])) == pytest.approx(1.0)


@given(seed=st.integers(0, 99), separation=st.floats(0, 3), scale=st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=15)
def test_equals_the_published_algorithm(planted, seed: int, separation: float, scale: float):
    x, labels = planted(seed, separation, count=61)
    assert float(sfda(scale * x, labels)) == pytest.approx(slow(scale * x, labels), rel=1e-7)


def test_principal_coordinates_give_the_same_when_samples_are_few(planted):
    x, labels = planted(0, count=24, size=30)
    x = 0.1 * x
    with pytest.warns(Uninformative):
        assert float(sfda(x, labels)) == pytest.approx(slow(x, labels), rel=1e-6)


def test_exactly_equal_samples_of_a_class_are_no_problem():
    labels = torch.arange(40) % 4
    assert float(sfda(torch.eye(4)[labels], labels)) == pytest.approx(1)
