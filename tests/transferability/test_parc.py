import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Uninformative, parc


def slow(x: Tensor, labels: Tensor, *, exact: bool) -> float:
    """As published, over matrices of correlations; ``exact``: labels' distances that are equal are made equal."""
    x, y = x.numpy(), np.eye(int(labels.max()) + 1)[labels.numpy()]
    pairs = np.triu_indices(len(x), 1)
    x = (x - x.mean(0)) / x.std(0)
    apart = (1 - np.corrcoef(y))[pairs]
    return float(spearmanr((1 - np.corrcoef(x))[pairs], apart.round(9) if exact else apart).statistic)


@pytest.mark.parametrize(("name", "published"), [("A", 37.12171532626154), ("B", 57.78917083855746)])
def test_reference_values(reference, name: str, published: float):
    x, labels, _ = reference(name)
    assert float(parc(x, labels)) == pytest.approx(slow(x, labels, exact=True), abs=1e-9)
    # the public number breaks ties between equal labels by rounding errors of their correlation: those of its machine
    assert 100 * slow(x, labels, exact=False) == pytest.approx(published, abs=1)
    assert 100 * float(parc(x, labels)) == pytest.approx(published, abs=4)


@given(seed=st.integers(0, 99), separation=st.floats(0, 3))
@settings(max_examples=15)
def test_equals_the_rank_correlation(planted, seed: int, separation: float):
    x, labels = planted(seed, separation)
    assert float(parc(x, labels)) == pytest.approx(slow(x, labels, exact=True), abs=1e-9)


def test_components(planted):
    x, labels = planted(0, size=12)
    reduced = torch.from_numpy(PCA(5, svd_solver="full").fit_transform(x.numpy()))
    torch.testing.assert_close(parc(x, labels, components=5), parc(reduced, labels))
    flipped = reduced * torch.tensor([-1, 1, 1, 1, 1])
    assert abs(parc(flipped, labels) - parc(reduced, labels)) > 1e-3  # so signs have to be agreed upon


def test_constant_dimensions_do_not_matter_much(planted):
    x, labels = planted(0)
    assert parc(torch.cat([x, torch.ones(60, 1)], dim=1), labels).isfinite()


def test_equidistant_samples_warn():
    with pytest.warns(Uninformative, match="equally far apart"):
        assert parc(torch.eye(6), torch.arange(6) % 2) == 0


def test_wrong_use_is_named(planted):
    x, _ = planted(0)
    with pytest.raises(UsageError, match="all 60 samples are of different classes"):
        parc(x, torch.arange(60))
    with pytest.raises(UsageError, match="2 dimensions or more"):
        parc(x[:, :1], torch.arange(60) % 2)
