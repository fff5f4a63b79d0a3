import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mentorch.comparison import interval, summarise

some = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


@given(some)
def test_the_interval_is_that_of_student(values: list[float]) -> None:
    low, high = interval(values)
    scale = stats.sem(values)
    if scale > 1e-9:
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale)
        assert (low, high) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert low <= sum(values) / len(values) + 1e-9
    assert low - 1e-9 <= sum(values) / len(values) <= high + 1e-9


@pytest.mark.parametrize("values", [[], [0.5]])
def test_less_than_two_values_have_no_interval(values: list[float]) -> None:
    assert interval(values) is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def row(method: str, seed: int, accuracy: float | None) -> dict:
    if accuracy is None:
        return {"method": method, "seed": seed, "error": "diverged"}
    return {
        "method": method,
        "seed": seed,
        "test": {"best": {"accuracy": accuracy}, "last": {"accuracy": accuracy / 2}},
    }


def test_a_summary_has_one_entry_per_method_metric_and_epoch() -> None:
    found = summarise([row("kd", 0, 0.8), row("kd", 1, 0.9), row("pkt", 0, 0.5), row("dkd", 0, None)])
    assert [(e["method"], e["metric"], e["which"], e["n"]) for e in found] == [
        ("kd", "accuracy", "best", 2),
        ("kd", "accuracy", "last", 2),
        ("pkt", "accuracy", "best", 1),
        ("pkt", "accuracy", "last", 1),
    ]
    best, last, alone, _ = found
    assert best["mean"] == pytest.approx(0.85)
    assert best["std"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    half = stats.t.ppf(0.975, 1) * best["std"] / math.sqrt(2)
    assert (best["low"], best["high"]) == pytest.approx((0.85 - half, 0.85 + half))
    assert last["mean"] == pytest.approx(0.425)
    assert (alone["std"], alone["low"], alone["high"]) == (0.0, None, None)


def test_failed_runs_do_not_count_and_do_not_stop_the_rest() -> None:
    (best, _) = summarise([row("kd", 0, 0.8), row("kd", 1, None), row("kd", 2, 0.6)])
    assert (best["n"], best["mean"]) == (2, pytest.approx(0.7))
    assert summarise([]) == []
