import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Uninformative, gbc


def slow(x: Tensor, labels: Tensor, covariance: str) -> float:
    """The overlap of multivariate normal distributions, pair by pair, by their full covariance matrices."""
    found = []
    for c in labels.unique():
        variances = x[labels == c].var(0)
        found.append(
            (x[labels == c].mean(0), variances if covariance == "diagonal" else variances.mean().expand(len(variances)))
        )
    total = 0.0
    for i, (mean, v) in enumerate(found):
        for j, (other, w) in enumerate(found):
            if i != j:
                middle = torch.diag((v + w) / 2)
                gap = mean - other
                apart = float(gap @ torch.linalg.solve(middle, gap)) / 8
                shape = (
                    float(torch.logdet(middle) - (torch.logdet(torch.diag(v)) + torch.logdet(torch.diag(w))) / 2) / 2
                )
                total += math.exp(-apart - shape)
    return -total


def test_reference_values(reference):
    x, labels, _ = reference("A")
    assert float(gbc(x, labels, variant="released")) == pytest.approx(-2.1132090746454675, rel=1e-10)
    x, labels, _ = reference("B")
    assert float(gbc(x, labels, components=32, variant="released")) == pytest.approx(-0.5105055697500054, rel=1e-10)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
@given(seed=st.integers(0, 99))
@settings(max_examples=8)
def test_equals_the_distance_of_gaussians(planted, covariance: str, seed: int):
    x, labels = planted(seed, 0.5)
    if covariance == "diagonal":  # along principal components
        centred = x - x.mean(0)
        x = centred @ torch.linalg.svd(centred, full_matrices=False).Vh.mT
    assert float(gbc(x, labels, covariance=covariance)) == pytest.approx(slow(x, labels, covariance), rel=1e-8)
    assert -12 <= float(gbc(x, labels)) <= 0


def test_variants_differ_in_the_spherical_form_only(planted):
    x, labels = planted(0, 0.5)
    x = x * (1 + labels[:, None])
    assert gbc(x, labels) != gbc(x, labels, variant="released")
    diagonal = gbc(x, labels, covariance="diagonal")
    assert diagonal == gbc(x, labels, covariance="diagonal", variant="released")


def test_saturation_warns_at_both_ends():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    apart = 100 * torch.eye(4)[labels] + torch.randn(40, 4, generator=generator)
    with pytest.warns(Uninformative, match=r"saturated at -0 of \[-12, 0\]"):
        gbc(apart, labels)
    same = torch.randn(10, 4, generator=generator).repeat_interleave(4, 0)
    with pytest.warns(Uninformative, match="saturated at -12"):
        gbc(same, labels)


def test_single_samples_warn_and_stay_finite(planted):
    x, labels = planted(0)
    labels[0] = 9
    with pytest.warns(Uninformative, match="1 of 5 classes have a single sample"):
        assert gbc(x, labels).isfinite()


def test_wrong_use_is_named(planted):
    with pytest.raises(UsageError, match="unknown covariance of gbc 'full'"):
        gbc(*planted(0), covariance="full")
    with pytest.raises(UsageError, match="unknown variant of gbc 'code'"):
        gbc(*planted(0), variant="code")
    with pytest.raises(UsageError, match="at least 1, not 0"):
        gbc(*planted(0), components=0)
