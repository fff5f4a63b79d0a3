import math

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Uninformative, leep, nleep


def test_equals_its_parts(planted):
    x, labels = planted(0, 2.0, count=200)
    scaled = (x - x.mean(0)) / (x - x.mean(0)).square().sum(1).mean().sqrt()
    reduced = PCA(0.8, svd_solver="full").fit_transform(scaled.numpy())
    assert reduced.shape[1] < 8
    posterior = GaussianMixture(6, random_state=3).fit(reduced).predict_proba(reduced)
    expected = leep(torch.from_numpy(posterior), labels)
    assert float(nleep(x, labels, components=6, seed=3)) == pytest.approx(float(expected), abs=1e-3)


def test_the_seed_decides(planted):
    x, labels = planted(0, 0.3, count=200)
    assert nleep(x, labels) == nleep(x, labels)
    assert nleep(x, labels) != nleep(x, labels, seed=1)


def test_range(planted):
    good, bad = (float(nleep(*planted(0, s, count=200), components=8)) for s in (5.0, 0.0))
    assert -math.log(4) <= bad < good <= 0


def test_more_gaussians_than_samples_is_refused(planted):
    x, labels = planted(0, count=15)
    with pytest.raises(UsageError, match="20 Gaussians need as many samples, got 15: set components="):
        nleep(x, labels)
    with pytest.raises(UsageError, match=r"energy must be in \(0, 1\], not 0"):
        nleep(x, labels, energy=0.0)


def test_repeated_samples_warn():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).repeat(10, 1)
    with pytest.warns(Uninformative, match="6 Gaussians is not to be trusted: Number of distinct clusters"):
        assert nleep(x, torch.arange(30) % 3, components=6).isfinite()


def test_a_mixture_that_cannot_be_fitted_is_an_error(planted, monkeypatch):
    def fail(self, x):
        raise ValueError("ill-defined covariance")

    monkeypatch.setattr(GaussianMixture, "fit", fail)
    with pytest.raises(RunError, match="no mixture of 20 Gaussians on 60 samples: ill-defined covariance"):
        nleep(*planted(0))
