import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from mentorch._errors import UsageError
from mentorch.metrics import accuracy, cross_entropy, mean_squared_error, top_k

METRICS = [accuracy, top_k, cross_entropy, mean_squared_error]


def case(seed: int, n: int = 20, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


@given(seed=st.integers(0, 99))
def test_means_equal_scikit_learn(seed: int):
    logits, labels = case(seed)
    p, classes = logits.softmax(1).numpy(), np.arange(7)
    assert float(accuracy(logits, labels).mean()) == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert float(cross_entropy(logits, labels).mean()) == pytest.approx(log_loss(labels, p, labels=classes))
    for k in (1, 3, 5):
        assert float(top_k(logits, labels, k=k).mean()) == pytest.approx(
            top_k_accuracy_score(labels, p, k=k, labels=classes)
        )
    squares = ((p - np.eye(7)[labels.numpy()]) ** 2).mean(1)
    np.testing.assert_allclose(mean_squared_error(logits, labels), squares, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_every_sample_is_on_its_own(metric):
    logits, labels = case(0)
    parts = [metric(x, y) for x, y in zip(logits.split(3), labels.split(3), strict=True)]
    torch.testing.assert_close(torch.cat(parts), metric(logits, labels))
    assert metric(logits, labels).shape == (20,)


def test_closed_forms_and_bounds():
    labels = torch.tensor([1, 0])
    flat, wrong = torch.zeros(2, 4), torch.tensor([[99.0, 0, 0, 0], [0, 99.0, 0, 0]])
    assert cross_entropy(flat, labels).tolist() == pytest.approx([math.log(4)] * 2)
    assert cross_entropy(wrong, labels).tolist() == pytest.approx([99.0, 99.0])
    assert mean_squared_error(wrong, labels).tolist() == pytest.approx([0.5, 0.5])  # the largest value, 2 / K


def test_ties_go_to_the_first_class():
    flat, labels = torch.zeros(4, 4), torch.arange(4)
    assert accuracy(flat, labels).tolist() == [1, 0, 0, 0]
    assert top_k(flat, labels, k=2).tolist() == [1, 1, 0, 0]


def test_a_nan_is_never_right():
    logits = torch.full((2, 3), torch.nan)
    logits[1] = torch.tensor([0.0, torch.nan, 1.0])
    labels = torch.tensor([0, 1])
    assert accuracy(logits, labels).tolist() == [0, 0]
    assert top_k(logits, labels, k=3).tolist() == [0, 0]
    assert cross_entropy(logits, labels).isnan().all()
    assert mean_squared_error(logits, labels).isnan().all()


def test_a_label_that_is_no_class_is_wrong_or_a_nan():
    logits, labels = torch.tensor([[9.0, 0.0, 0.0]] * 5), torch.tensor([0, -100, -1, 3, 255])
    for metric in (accuracy, top_k):
        assert metric(logits, labels).tolist() == [1, 0, 0, 0, 0]
    for metric in (cross_entropy, mean_squared_error):
        assert metric(logits, labels)[0] == metric(logits[:1], labels[:1])
        assert metric(logits, labels)[1:].isnan().all()


def test_more_places_than_classes_is_always_right():
    logits, labels = case(0)
    assert top_k(logits, labels, k=99).all()


@pytest.mark.parametrize("metric", METRICS)
def test_half_precision_and_small_labels_work(metric):
    logits, labels = case(0)
    logits = (100 * logits).half()
    expected = metric(logits.float(), labels)
    assert expected.dtype is torch.float32
    assert torch.equal(metric(logits, labels.to(torch.uint8)), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_use_is_named(metric):
    logits, labels = case(0)
    with pytest.raises(UsageError, match=f"{metric.__name__}: nothing to measure, got 0 samples"):
        metric(logits[:0], labels[:0])
    with pytest.raises(UsageError, match=r"got \[20, 7\] and \[3\]"):
        metric(logits, labels[:3])
    with pytest.raises(UsageError, match=r"got \[20\] and \[20\]"):
        metric(logits[:, 0], labels)
    with pytest.raises(UsageError, match=r"integer labels, got torch\.float32"):
        metric(logits, labels.float())


def test_top_k_needs_a_place():
    with pytest.raises(UsageError, match="k must be at least 1, not 0"):
        top_k(*case(0), k=0)
