import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.metrics import calibration_error


def slow(logits: torch.Tensor, labels: torch.Tensor, bins: int) -> float:
    """The formula, bin by bin."""
    p = logits.double().softmax(1).numpy()
    confidence, correct = p.max(1), p.argmax(1) == labels.numpy()
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@given(seed=st.integers(0, 99), bins=st.integers(1, 20), scale=st.floats(0.1, 30))
def test_equals_the_formula(seed: int, bins: int, scale: float):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(50, 4, generator=generator)
    labels = torch.randint(4, (50,), generator=generator)
    assert float(calibration_error(logits, labels, bins=bins)) == pytest.approx(slow(logits, labels, bins), abs=1e-9)


def test_closed_forms():
    sure = torch.tensor([[1000.0, 0.0]] * 4)
    assert calibration_error(sure, torch.zeros(4, dtype=torch.int64)) == 0
    assert calibration_error(sure, torch.tensor([0, 0, 0, 1])) == 0.25
    assert calibration_error(sure, torch.ones(4, dtype=torch.int64)) == 1


def test_bins_include_their_upper_edge():
    logits, labels = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])  # confidence exactly 1/2, and above
    sure = float(torch.tensor(1.0).sigmoid())
    assert float(calibration_error(logits, labels, bins=2)) == pytest.approx((0.5 + sure) / 2)
    assert float(calibration_error(logits, labels, bins=1)) == pytest.approx(
        abs(0.5 - sure) / 2
    )  # one bin: they cancel


def test_is_in_the_unit_interval_and_keeps_a_nan():
    logits = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 5
    assert 0 <= calibration_error(logits, labels) <= 1
    logits[3, 2] = torch.nan
    assert np.isnan(float(calibration_error(logits, labels)))


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="nothing to measure"):
        calibration_error(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UsageError, match="at least 1 bin, not 0"):
        calibration_error(torch.zeros(1, 3), torch.tensor([0]), bins=0)
