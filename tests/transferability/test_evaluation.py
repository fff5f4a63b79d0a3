import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from mentorch._errors import UsageError
from mentorch.transferability import (
    Uninformative,
    null_band,
    pearson,
    precision_at,
    recall_at,
    regret,
    static_baseline,
    weighted_tau,
)

NUMBERS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12)


def one_sided(x: np.ndarray, y: np.ndarray, by: np.ndarray) -> float:
    """Weighted tau with hyperbolic weights by the decreasing ranks of ``by``, from its definition over pairs."""
    rank = np.empty(len(by))
    rank[by] = np.arange(len(by))
    total = norm_x = norm_y = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                weight = 1 / (rank[i] + 1) + 1 / (rank[j] + 1)
                a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
                total, norm_x, norm_y = total + weight * a * b, norm_x + weight * a * a, norm_y + weight * b * b
    return float(total / math.sqrt(norm_x * norm_y))


@given(pairs=NUMBERS)
def test_weighted_tau_equals_its_definition_also_with_ties(pairs: list[tuple[int, int]]):
    x, y = np.array(pairs, dtype=float).T
    if len(set(x)) == 1 or len(set(y)) == 1:
        return
    first, second = (np.lexsort(keys)[::-1] for keys in ((y, x), (x, y)))
    expected = (one_sided(x, y, first) + one_sided(x, y, second)) / 2
    assert weighted_tau(x.tolist(), y.tolist()) == pytest.approx(expected)


def test_weighted_tau_is_not_odd_and_in_range():
    rs = np.random.RandomState(0)
    x, z = rs.randn(12), rs.randn(12)
    assert weighted_tau(x.tolist(), z.tolist()) != pytest.approx(-weighted_tau((-x).tolist(), z.tolist()), abs=1e-3)
    assert weighted_tau(x.tolist(), (3 * x + 1).tolist()) == pytest.approx(1)
    assert weighted_tau(x.tolist(), (-x).tolist()) == pytest.approx(-1)


@pytest.mark.parametrize("measure", [weighted_tau, pearson])
def test_networks_without_a_number_are_left_out_aloud(measure):
    scores, truth = [1.0, math.nan, 3.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0, math.nan]
    with pytest.warns(Uninformative, match="2 of 5 networks have no score or no truth"):
        assert measure(scores, truth) == measure([1.0, 3.0, 2.0], [1.0, 3.0, 4.0])
    with pytest.warns(Uninformative, match="all 3 scores are equal"):
        assert math.isnan(measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    with pytest.warns(Uninformative, match="all 3 truths are equal"):
        assert math.isnan(measure([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]))
    with pytest.raises(UsageError, match="2 networks or more with a score and a truth, got 1"):
        measure([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(UsageError, match=r"got \[2\] and \[3\]"):
        measure([1.0, 2.0], [1.0, 2.0, 3.0])


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-200, 1.0, 1e200]))
def test_pearson_equals_scipy(seed: int, scale: float):
    x, y = np.random.RandomState(seed).randn(2, 9)
    assert pearson((scale * x).tolist(), y.tolist()) == pytest.approx(pearsonr(x, y).statistic)


@given(pairs=NUMBERS)
def test_regret_is_the_mean_over_blind_choices(pairs: list[tuple[int, int]]):
    scores, truth = ([float(p[i]) for p in pairs] for i in (0, 1))
    chosen = [t for s, t in zip(scores, truth, strict=True) if s == max(scores)]
    assert regret(scores, truth) == pytest.approx(max(truth) - sum(chosen) / len(chosen))
    assert regret(truth, truth) == 0


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=8), data=st.data())
@settings(max_examples=40)
def test_precision_and_recall_are_means_over_all_ways_to_break_ties(pairs: list[tuple[int, bool]], data):
    scores, relevant = [float(p[0]) for p in pairs], [p[1] for p in pairs]
    if not any(relevant):
        with pytest.raises(UsageError, match="need a relevant network"):
            precision_at(scores, relevant, 1)
        return
    k = data.draw(st.integers(1, len(pairs)))
    rs = np.random.RandomState(0)
    hits = []
    for _ in range(2000 if len(set(scores)) < len(scores) else 1):
        order = np.lexsort((rs.rand(len(scores)), -np.array(scores)))
        hits.append(sum(relevant[i] for i in order[:k]))
    assert precision_at(scores, relevant, k) == pytest.approx(np.mean(hits) / k, abs=0.08)
    assert recall_at(scores, relevant, k) * sum(relevant) == pytest.approx(precision_at(scores, relevant, k) * k)


def test_precision_refuses_what_it_cannot_count():
    with pytest.raises(UsageError, match="got NaN for 1 networks"):
        precision_at([1.0, math.nan], [True, False], 1)
    with pytest.raises(UsageError, match="between 1 and the 2 networks, not 3"):
        precision_at([1.0, 2.0], [True, False], 3)
    with pytest.raises(UsageError, match=r"got \[2\] and \[1\]"):
        precision_at([1.0, 2.0], [True], 1)


@pytest.mark.parametrize(
    ("networks", "deviation", "high"),
    [(8, 0.33, 0.56), (11, 0.28, 0.46), (18, 0.22, 0.37), (30, 0.18, 0.31), (100, 0.12, 0.20)],
)
def test_the_null_band_is_the_published_one(networks: int, deviation: float, high: float):
    band = null_band(networks, draws=1000)
    assert band.deviation == pytest.approx(deviation, abs=0.02)
    assert band.high == pytest.approx(high, abs=0.035)
    assert null_band(networks, draws=50) == null_band(networks, draws=50) != null_band(networks, draws=50, seed=1)


def test_the_null_band_needs_networks():
    with pytest.raises(UsageError, match="got 2 and 2000"):
        null_band(2)


@given(seed=st.integers(0, 99))
def test_the_static_baseline_never_looks_at_its_target(seed: int):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(6, 4, generator=generator)
    other = truth.clone()
    other[:, 2] = torch.rand(6, generator=generator)
    assert torch.equal(static_baseline(truth)[:, 2], static_baseline(other)[:, 2])
    assert torch.equal(static_baseline(truth[:, :2])[:, 0].argsort(), truth[:, 1].argsort())


def test_the_static_baseline_needs_a_full_table():
    for table in (torch.rand(4), torch.rand(4, 1), torch.full((4, 2), math.nan)):
        with pytest.raises(UsageError, match="full table"):
            static_baseline(table)
