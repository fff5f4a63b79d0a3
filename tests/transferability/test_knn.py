from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import knn


def slow(x: Tensor, labels: Tensor, k: int) -> float:
    """One sample at a time, ties as documented."""
    right = 0
    for i in range(len(x)):
        gaps = ((x - x[i]) ** 2).sum(1).tolist()
        order = sorted((j for j in range(len(x)) if j != i), key=lambda j: (round(gaps[j], 9), j))
        near = [int(labels[j]) for j in order[:k]]
        votes = Counter(near)
        right += next(c for c in near if votes[c] == max(votes.values())) == labels[i]
    return float(right) / len(x)


def test_reference_values(reference):
    assert float(knn(*reference("A")[:2])) == pytest.approx(0.779)
    assert float(knn(*reference("B")[:2])) == 1


@given(seed=st.integers(0, 99), k=st.integers(1, 9), separation=st.floats(0, 2))
@settings(max_examples=20)
def test_equals_one_sample_at_a_time(planted, seed: int, k: int, separation: float):
    x, labels = planted(seed, separation, count=30, size=3)
    x[10:20] = x[:10]  # equal samples, some of other classes
    assert float(knn(x, labels, k=k)) == pytest.approx(slow(x, labels, k))


def test_equals_scikit_learn(planted):
    x, labels = planted(0)
    expected = cross_val_score(KNeighborsClassifier(1, algorithm="brute"), x.numpy(), labels.numpy(), cv=LeaveOneOut())
    assert float(knn(x, labels)) == pytest.approx(expected.mean())


def test_blocks_do_not_matter(planted, monkeypatch):
    x, labels = planted(0)
    whole = knn(x, labels, k=3)
    monkeypatch.setattr("mentorch.transferability._knn._CELLS", 500)
    assert knn(x, labels, k=3) == whole


def test_k_is_checked(planted):
    for k in (0, 60):
        with pytest.raises(UsageError, match=f"between 1 and 59, one less than the samples, not {k}"):
            knn(*planted(0), k=k)
