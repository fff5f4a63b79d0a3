import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.metrics import segmentation


def measured(prediction, labels, num_classes, **options):
    metric = segmentation(num_classes, **options)
    metric.update(torch.as_tensor(prediction), torch.as_tensor(labels))
    return metric.compute()


def slow(prediction, labels, num_classes, ignore):
    """By sets of pixels, class by class."""
    prediction, labels = np.asarray(prediction).ravel(), np.asarray(labels).ravel()
    kept = (labels != ignore) & (labels >= 0) & (labels < num_classes)
    prediction, labels = prediction[kept], labels[kept]
    iou, recall, weighted = [], [], 0.0
    for k in range(num_classes):
        both, either = ((prediction == k) & (labels == k)).sum(), ((prediction == k) | (labels == k)).sum()
        iou.append(both / either if either else math.nan)
        if (labels == k).any():
            recall.append(both / (labels == k).sum())
            weighted += (labels == k).mean() * iou[-1]
    if not len(labels):
        return [math.nan] * 4, iou
    return [np.nanmean(iou), (prediction == labels).mean(), np.mean(recall), weighted], iou


@given(st.integers(1, 6), st.integers(0, 60), st.sampled_from([255, 0, 2, -1]), st.integers(0, 10_000))
def test_against_sets_of_pixels(num_classes, pixels, ignore, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, num_classes + 1, (1, 1, pixels))
    labels[random.random(labels.shape) < 0.2] = ignore
    prediction = random.integers(0, num_classes, labels.shape)
    expected, iou = slow(prediction, labels, num_classes, ignore)
    found = measured(prediction, labels, num_classes, ignore=ignore)
    values = [found.miou, found.pixel_accuracy, found.class_accuracy, found.frequency_weighted_iou]
    assert values == pytest.approx(expected, nan_ok=True)
    assert list(found.iou) == pytest.approx(iou, nan_ok=True)


def test_four_pixels_by_hand():
    found = measured([[[0, 0, 1, 1]]], [[[0, 1, 1, 2]]], 3)
    assert found.iou == (0.5, 1 / 3, 0.0)
    assert found.miou == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert found.pixel_accuracy == 0.5
    assert found.class_accuracy == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.frequency_weighted_iou == pytest.approx(0.25 * 0.5 + 0.5 / 3)
    assert found.pixels == 4


def test_logits_are_classes_of_the_largest():
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(1))
    assert measured(logits, labels, 5) == measured(logits.argmax(1), labels, 5)
    assert measured(logits.half(), labels.to(torch.uint8), 5).pixels == 24


def test_a_perfect_prediction():
    labels = torch.tensor([[[0, 1, 255, 3]]])
    found = measured(labels.where(labels != 255, 2), labels, 5)
    assert found.miou == found.pixel_accuracy == found.class_accuracy == found.frequency_weighted_iou == 1.0
    assert math.isnan(found.iou[2])  # called 2 only where nothing counts


def test_absent_classes_are_left_out_or_zero():
    prediction = labels = [[[0, 0, 1, 1]]]
    assert measured(prediction, labels, 4).miou == 1.0
    assert measured(prediction, labels, 4, absent="zero").miou == 0.5


def test_ignored_pixels_are_in_no_sum_also_of_label_0():
    assert measured([[[0, 1, 1, 0]]], [[[0, 0, 1, 1]]], 2, ignore=0).pixel_accuracy == 0.5
    one, two = measured([[[1]]], [[[1]]], 2), measured([[[1, 0]]], [[[1, 255]]], 2)
    assert (one.miou, one.pixel_accuracy, one.pixels) == (two.miou, two.pixel_accuracy, two.pixels)


def test_nothing_that_counts_is_not_a_number():
    for found in (measured([[[0]]], [[[255]]], 2), measured([[[0]]], [[[255]]], 2, absent="zero")):
        values = (found.miou, found.pixel_accuracy, found.class_accuracy, found.frequency_weighted_iou, *found.iou)
        assert all(math.isnan(value) for value in values)
        assert found.pixels == 0


def test_a_prediction_that_is_no_class_is_wrong():
    found = measured([[[7, -1, 0]]], [[[0, 0, 0]]], 2)
    assert (found.pixel_accuracy, found.iou[0], found.pixels) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 3)
    logits = torch.tensor([[math.nan, 2.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    assert measured(logits, [[[0, 0]]], 2).pixel_accuracy == 0.5


def test_more_than_256_classes_are_told_apart():
    found = measured([[[256, 299]]], [[[0, 43]]], 300)
    assert found.pixel_accuracy == 0


def test_wrong_requests_are_refused():
    with pytest.raises(UsageError, match="at least 1 class, not 0"):
        segmentation(0)
    with pytest.raises(UsageError, match="absent"):
        segmentation(2, absent="one")
    for prediction, labels in (
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2).long()),
        (torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long()),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 3).long()),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2)),
    ):
        with pytest.raises(UsageError, match=r"needs logits \[N, 2, H, W\] or integer classes"):
            segmentation(2).update(prediction, labels)
