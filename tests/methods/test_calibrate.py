import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from mentorch import RunError, UsageError
from mentorch.methods import calibrate


def sample(seed: int, classes: int = 4, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels drawn from them: such a network is calibrated."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=draw, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]


@given(seed=st.integers(0, 30), scale=st.floats(0.2, 5))
def test_it_is_the_least_of_the_cross_entropy(seed: int, scale: float):
    logits, labels = sample(seed)
    logits *= scale

    def entropy(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / math.exp(log_t), labels))

    best = minimize_scalar(entropy, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    assert calibrate(logits, labels) == pytest.approx(math.exp(best.x), rel=1e-3)


def test_it_undoes_a_scale():
    logits, labels = sample(0)
    own = calibrate(logits, labels)
    assert own == pytest.approx(1.0, abs=0.15)
    assert calibrate(7 * logits, labels) == pytest.approx(7 * own, rel=1e-9)
    assert calibrate(logits.float(), labels.int()) == pytest.approx(own, rel=1e-6)


def test_who_is_always_right_or_never_stays_within_bounds():
    logits = torch.eye(3)
    assert calibrate(logits, torch.arange(3)) == pytest.approx(0.01)
    assert calibrate(logits, torch.tensor([1, 2, 0])) == pytest.approx(100)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "needs logits"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"got \[2, 3\], \[3\]"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels 0..3, but 3 classes"),
    ],
    ids=["none", "shapes", "labels"],
)
def test_wrong_use_is_named(logits, labels, message: str):
    with pytest.raises(UsageError, match=message):
        calibrate(logits, labels)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value: float):
    logits, labels = sample(0)
    logits[3, 1] = value
    with pytest.raises(RunError, match="calibrate: logits are not finite"):
        calibrate(logits, labels)
