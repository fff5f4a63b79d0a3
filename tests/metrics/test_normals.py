import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.metrics import normals


def measured(prediction, target):
    metric = normals()
    metric.update(torch.as_tensor(prediction), torch.as_tensor(target))
    return metric.compute()


def tilted(degrees):
    """Vectors turned away from (0, 0, -1) by so many degrees, and that vector, one pixel each."""
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    prediction = torch.stack((angle.sin(), torch.zeros_like(angle), -angle.cos())).view(1, 3, 1, -1)
    return prediction, torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1).expand_as(prediction)


@given(st.integers(1, 60), st.integers(0, 10_000))
def test_against_numpy(pixels, seed):
    random = np.random.default_rng(seed)
    prediction, target = random.normal(size=(2, 1, 3, 1, pixels))
    prediction = target + random.choice([0.1, 0.5, 2.0]) * prediction
    target[..., random.random(pixels) < 0.3] = random.choice([0.0, np.nan])
    found = measured(prediction, target)
    a, b = prediction[0, :, 0].T, target[0, :, 0].T
    kept = np.isfinite(b).all(1) & (b != 0).any(1)
    assert found.pixels == kept.sum()
    if not kept.any():
        assert math.isnan(found.mean)
        assert math.isnan(found.median)
        return
    a, b = a[kept], b[kept]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    shares = [np.mean(angle < limit) for limit in (11.25, 22.5, 30)]
    values = [found.mean, found.rmse, found.within_11_25, found.within_22_5, found.within_30]
    assert values == pytest.approx([angle.mean(), math.sqrt(np.mean(angle**2)), *shares], abs=1e-5)
    assert found.median == pytest.approx(np.median(angle), abs=0.00501)


@given(st.lists(st.floats(0, 180), min_size=1, max_size=30))
def test_known_angles(degrees):
    found = measured(*tilted(degrees))
    assert found.mean == pytest.approx(np.mean(degrees), abs=1e-9)
    assert found.median == pytest.approx(np.median(degrees), abs=0.00501)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 0.01, 179.999])
def test_small_angles_of_float32_are_exact(angle):
    prediction, target = tilted([angle])
    assert measured(prediction.float(), target.float()).mean == pytest.approx(angle, rel=1e-3)


def test_a_perfect_prediction_and_an_opposite_one():
    _, target = tilted([0.0] * 5)
    same, opposite = measured(7 * target, target), measured(-target, target)
    assert (same.mean, same.rmse, same.within_11_25, same.within_30) == (0, 0, 1, 1)
    assert same.median == pytest.approx(0, abs=0.005)
    assert opposite.mean == pytest.approx(180)
    assert opposite.median == pytest.approx(180, abs=0.00501)


def test_limits_are_strict():
    found = measured(*tilted([11.2499, 11.2501, 22.4999, 22.5001, 29.9999, 30.0001]))
    shares = (found.within_11_25, found.within_22_5, found.within_30)
    assert shares == pytest.approx((1 / 6, 3 / 6, 5 / 6))


def test_no_direction_is_a_right_angle_and_no_number_is_nowhere_near():
    prediction, target = tilted([0.0, 0.0])
    prediction = prediction.clone()
    prediction[..., 1] = 0.0
    found = measured(prediction, target)
    assert (found.mean, found.within_30) == (45.0, 0.5)
    prediction[..., 1] = math.nan
    found = measured(prediction, target)
    assert math.isnan(found.mean)
    assert found.within_30 == 0.5
    assert found.median > 80


def test_unknown_truth_counts_nowhere():
    prediction, target = tilted([10.0, 50.0])
    target = target.clone()
    target[..., 1] = 0.0
    found = measured(prediction, target)
    assert found.mean == pytest.approx(10.0)
    assert found.pixels == 1


def test_wrong_shapes_are_refused():
    with pytest.raises(UsageError, match=r"shape \[N, 3, H, W\], got \[1, 1, 2, 2\]"):
        normals().update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
