import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from torch import Tensor

from mentorch.transferability import Uninformative, h_score, regularized_h_score


def means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x[y == label].mean(0) for label in y])


def slow(x: Tensor, labels: Tensor) -> float:
    x, y = x.numpy(), labels.numpy()
    return float(np.trace(np.linalg.pinv(np.cov(x.T)) @ np.cov(means(x, y).T)))


def slow_regularized(x: Tensor, labels: Tensor) -> float:
    x, y = x.numpy() - x.numpy().mean(0), labels.numpy()
    found = LedoitWolf().fit(x)
    return float(np.trace(np.linalg.pinv(found.covariance_) @ np.cov(means(x, y).T)) * (1 - found.shrinkage_))


def test_reference_values(reference):
    assert float(h_score(*reference("A")[:2])) == pytest.approx(5.463382142272258, rel=1e-10)
    assert float(regularized_h_score(*reference("A")[:2])) == pytest.approx(4.7579174450682515, rel=1e-10)
    assert float(regularized_h_score(*reference("B")[:2])) == pytest.approx(4.210597884287486, rel=1e-10)
    with pytest.warns(Uninformative, match=r"is C - 1 = 5 for any features of 256 dimensions on 60 samples"):
        assert float(h_score(*reference("B")[:2])) == pytest.approx(5.0)


@pytest.mark.filterwarnings("ignore::mentorch.transferability.Uninformative")  # noise is among them
@given(seed=st.integers(0, 99), separation=st.floats(0, 3))
@settings(max_examples=20)
def test_equal_the_covariances_written_out(planted, seed: int, separation: float):
    x, labels = planted(seed, separation)
    assert float(h_score(x, labels)) == pytest.approx(slow(x, labels), rel=1e-8)
    assert float(regularized_h_score(x, labels)) == pytest.approx(slow_regularized(x, labels), rel=1e-8, abs=1e-9)
    assert 0 <= float(h_score(x, labels)) <= 3  # C - 1


def test_regularized_with_fewer_samples_than_dimensions(planted):
    x, labels = planted(0, 3.0, count=30, size=50)
    assert float(regularized_h_score(x, labels)) == pytest.approx(slow_regularized(x, labels), rel=1e-8)


def test_perfect_separation_reaches_the_bound():
    labels = torch.arange(40) % 4
    assert float(h_score(torch.eye(4)[labels], labels)) == pytest.approx(3)
    assert float(h_score(torch.eye(4)[labels][:, :2], labels)) == pytest.approx(2)  # two dimensions


def test_rounding_errors_of_the_network_are_not_blown_up(planted):
    x, labels = planted(0, count=300, size=10, classes=5)
    generator = torch.Generator().manual_seed(1)
    wide = torch.cat([x, x @ torch.randn(10, 20, generator=generator).double()], dim=1)
    noisy = wide + 1e-5 * torch.randn(wide.shape, generator=generator).double()
    assert float(h_score(noisy, labels)) == pytest.approx(float(h_score(x, labels)), rel=1e-3)
    assert float(h_score(noisy.float(), labels)) == pytest.approx(float(h_score(x, labels)), rel=1e-3)
    assert float(h_score(noisy, labels, tolerance=0.0)) > float(h_score(x, labels)) + 0.1


def test_noise_shrunk_away_warns(planted):
    with pytest.warns(Uninformative, match="is 0 for any labels"):
        assert float(regularized_h_score(*planted(1, 0.0))) == 0
