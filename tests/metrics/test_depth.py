import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.metrics import depth

NAMES = ("rmse", "rmse_log", "mae", "abs_rel", "sq_rel", "log10", "delta1", "delta2", "delta3")


def measured(prediction, target, **options):
    metric = depth(**options)
    metric.update(torch.as_tensor(prediction), torch.as_tensor(target))
    return metric.compute()


def formulas(p, g):
    ratio = np.maximum(p / g, g / p)
    return [
        math.sqrt(np.mean((p - g) ** 2)),
        math.sqrt(np.mean((np.log(p) - np.log(g)) ** 2)),
        np.mean(np.abs(p - g)),
        np.mean(np.abs(p - g) / g),
        np.mean((p - g) ** 2 / g),
        np.mean(np.abs(np.log10(p / g))),
        *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
    ]


def slow(prediction, target, low, high, per_image, weight):
    images = []
    for p, g in zip(prediction.reshape(len(target), -1), target.reshape(len(target), -1), strict=True):
        kept = np.isfinite(g) & (g >= low) & (g <= high)
        if kept.any():
            images.append((np.maximum(p[kept], low), g[kept]))
    if not images:
        return [math.nan] * 10
    logs = [np.log(p) - np.log(g) for p, g in images]
    invariant = np.mean([np.mean(d**2) - weight * np.mean(d) ** 2 for d in logs])
    if per_image:
        return [*np.mean([formulas(p, g) for p, g in images], axis=0), invariant]
    return [*formulas(*(np.concatenate(x) for x in zip(*images, strict=True))), invariant]


@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([(1e-3, math.inf), (0.5, 2.0)]),
    st.integers(0, 10_000),
)
def test_against_numpy(images, pixels, per_image, weight, limits, seed):
    random = np.random.default_rng(seed)
    target = np.exp(random.normal(size=(images, 1, 1, pixels)))
    target[random.random(target.shape) < 0.3] = random.choice([0.0, -1.0, np.nan, np.inf])
    prediction = np.exp(random.normal(size=target.shape))
    prediction[random.random(target.shape) < 0.1] = -0.3
    options = {"low": limits[0], "high": limits[1], "per_image": per_image, "weight": weight}
    found = measured(prediction, target, **options)
    expected = slow(prediction, target, **options)
    assert [*(getattr(found, name) for name in NAMES), found.scale_invariant] == pytest.approx(expected, nan_ok=True)


def test_two_pixels_by_hand():
    found = measured([[[2.0, 1.0, 9.0]]], [[[1.0, 2.0, 0.0]]])
    assert found.rmse == found.mae == 1.0
    assert found.abs_rel == found.sq_rel == 0.75
    assert found.rmse_log == pytest.approx(math.log(2))
    assert found.log10 == pytest.approx(math.log10(2))
    assert (found.delta1, found.delta2, found.delta3) == (0.0, 0.0, 0.0)
    assert found.scale_invariant == pytest.approx(math.log(2) ** 2)
    assert (found.pixels, found.images) == (2, 1)


def test_the_thresholds_are_strict():
    found = measured([[[1.25, 1.2499, 1.5625, 1.0]]], [[[1.0, 1.0, 1.0, 1.9530]]])
    assert (found.delta1, found.delta2, found.delta3) == (0.25, 0.5, 1.0)


def test_a_perfect_prediction():
    target = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    found = measured(target, target)
    assert found.rmse == found.rmse_log == found.mae == found.abs_rel == found.sq_rel == found.log10 == 0
    assert found.delta1 == found.delta2 == found.delta3 == 1
    assert found.scale_invariant == 0


@given(st.floats(0.1, 10))
def test_a_global_factor_is_not_seen_with_weight_1(factor):
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.rand(3, 1, 4, 4, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    plain, scaled = (measured(f * prediction, target).scale_invariant for f in (1.0, factor))
    assert scaled == pytest.approx(plain, rel=1e-9)
    half, other = (measured(f * prediction, target, weight=0.5).scale_invariant for f in (1.0, 3.0))
    assert half != pytest.approx(other, rel=1e-3)


def test_the_scale_invariant_error_is_a_variance_and_its_root_a_deviation():
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.rand(3, 1, 4, 4, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    d = (prediction.log() - target.log()).flatten(1)
    assert measured(prediction, target).scale_invariant == pytest.approx(float(d.var(1, correction=0).mean()))
    root = measured(prediction, target, root=True).scale_invariant
    assert root == pytest.approx(float(d.std(1, correction=0).mean()))


def test_an_image_without_truth_changes_nothing():
    prediction = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    target = torch.stack((torch.ones(1, 3, 3), torch.zeros(1, 3, 3)))
    for per_image in (False, True):
        both, one = (measured(prediction[:n], target[:n], per_image=per_image) for n in (2, 1))
        assert both == one
    nothing = measured(prediction[1:], target[1:])
    assert math.isnan(nothing.rmse)
    assert math.isnan(nothing.scale_invariant)
    assert nothing.pixels == nothing.images == 0


def test_a_diverged_prediction_is_not_hidden():
    found = measured([[[math.nan, 1.0]]], [[[1.0, 1.0]]])
    assert math.isnan(found.rmse)
    assert math.isnan(found.abs_rel)
    assert found.delta1 == 0.5
    # but where there is no truth, nobody asked
    assert measured([[[math.nan, 1.0]]], [[[0.0, 1.0]]]).rmse == 0


def test_wrong_requests_are_refused():
    with pytest.raises(UsageError, match="0 < low < high is needed, not 2 and 1"):
        depth(low=2, high=1)
    for prediction, target in (((2, 1, 3, 3), (2, 3, 3)), ((2, 2, 3, 3), (2, 2, 3, 3)), ((3, 3), (3, 3))):
        with pytest.raises(UsageError, match="depth: needs prediction and target of one shape"):
            depth().update(torch.ones(prediction), torch.ones(target))
