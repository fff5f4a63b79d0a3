import math
import warnings
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Uninformative, nce


def test_reference_values(reference):
    assert float(nce(reference("A")[2], reference("A")[1])) == pytest.approx(-1.8415280327460875, rel=1e-10)
    assert float(nce(reference("B")[2], reference("B")[1])) == pytest.approx(-0.9897495605255434, rel=1e-10)


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=4, max_size=60))
def test_equals_the_entropies_by_counting(pairs: list[tuple[int, int]]):
    if len({y for y, _ in pairs}) < 2:
        return
    joint, source = Counter(pairs), Counter(z for _, z in pairs)
    expected = sum(n / len(pairs) * math.log(n / source[z]) for (_, z), n in joint.items())
    labels, sources = torch.tensor(pairs).unbind(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Uninformative)
        value = nce(sources * 3, labels)
    assert float(value) == pytest.approx(expected, abs=1e-12)
    assert -math.log(4) - 1e-12 <= float(value) <= 1e-12


def test_planted_confusion_has_its_analytic_entropy():
    classes, noise, count = 5, 0.3, 20000
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    wrong = torch.rand(count, generator=generator) < noise
    source = torch.where(wrong, (labels + torch.randint(1, classes, (count,), generator=generator)) % classes, labels)
    expected = (1 - noise) * math.log(1 - noise) + noise * math.log(noise / (classes - 1))
    assert float(nce(source, labels)) == pytest.approx(expected, abs=0.02)


def test_logits_and_probabilities_give_the_same():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 2
    assert nce(logits, labels) == nce(logits.softmax(1), labels) == nce(logits.argmax(1), labels)


def test_too_many_source_classes_and_one_alone_warn():
    labels = torch.arange(10) % 2
    with pytest.warns(Uninformative, match="10 predicted source classes for 10 samples"):
        assert nce(torch.arange(10), labels) == 0
    with pytest.warns(Uninformative, match="the same class for all samples"):
        assert float(nce(torch.zeros(10, dtype=torch.int64), labels)) == pytest.approx(-math.log(2))


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="or predicted classes"):
        nce(torch.zeros(4), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(RunError, match="not finite"):
        nce(torch.full((4, 2), torch.inf), torch.tensor([0, 1, 0, 1]))
