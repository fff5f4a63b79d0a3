import math

import pytest
import torch
import torch.nn.functional as F

from mentorch.losses import cross_entropy


def test_golden_values(golden, near):
    value = cross_entropy(golden.student, golden.labels)
    near(value, [0.407606, 0.407606, 1.294377, 1.551445])
    near(value.mean(), 0.915258)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_equals_the_formula(golden, smoothing: float):
    for row, label, value in zip(
        golden.student.tolist(),
        golden.labels.tolist(),
        cross_entropy(golden.student, golden.labels, label_smoothing=smoothing),
        strict=True,
    ):
        log_q = [x - math.log(sum(map(math.exp, row))) for x in row]
        expected = -(1 - smoothing) * log_q[label] - smoothing * sum(log_q) / len(row)
        assert float(value) == pytest.approx(expected, rel=1e-12)


def test_soft_labels_of_one_class_are_hard_labels(golden):
    soft = F.one_hot(golden.labels, 3).float()
    torch.testing.assert_close(cross_entropy(golden.student, soft), cross_entropy(golden.student, golden.labels))


def test_small_integer_labels_work(golden):
    assert torch.equal(
        cross_entropy(golden.student, golden.labels.to(torch.uint8)), cross_entropy(golden.student, golden.labels)
    )


def test_ignored_pixels_are_not_in_the_mean():
    logits = torch.randn(2, 3, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[0, 2, 255, 1]], [[255, 255, 255, 255]]])
    value = cross_entropy(logits, labels, ignore_index=255)
    valid = [-float(logits[0, :, 0, i].log_softmax(0)[c]) for i, c in ((0, 0), (1, 2), (3, 1))]
    assert float(value[0]) == pytest.approx(sum(valid) / 3)
    assert value[1] == 0


def test_soft_pixels_are_averaged():
    logits = torch.randn(2, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    hard = torch.tensor([[[0, 2, 1, 1]], [[2, 1, 0, 0]]])
    soft = F.one_hot(hard, 3).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(cross_entropy(logits, soft), cross_entropy(logits, hard))
