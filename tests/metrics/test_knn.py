import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from mentorch._errors import RunError, UsageError
from mentorch.metrics import Neighbours, knn


def case(seed: int, classes: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=generator)
    labels = torch.randint(classes, (70,), generator=generator)
    features = centres[labels] + torch.randn(70, 6, generator=generator)
    return features[:40], labels[:40], features[40:], labels[40:]


def slow(train: torch.Tensor, known: torch.Tensor, test: torch.Tensor, truth: torch.Tensor, k: int) -> Neighbours:
    """One pair at a time, ties as documented."""
    classes = len({*known.tolist(), *truth.tolist()})
    right, loss = 0, 0.0
    for x, y in zip(test.tolist(), truth.tolist(), strict=True):
        order = sorted(range(len(train)), key=lambda i: (math.dist(train[i].tolist(), x), i))
        near = [int(known[i]) for i in order[:k]]
        votes = Counter(near)
        choice = next(c for c in near if votes[c] == max(votes.values()))
        right += choice == y
        loss -= math.log((votes[y] + 1) / (k + classes))
    return Neighbours(right / len(test), loss / len(test))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@given(seed=st.integers(0, 99), k=st.sampled_from([1, 3, 7]))
def test_equals_scikit_learn_where_votes_cannot_tie(metric: str, seed: int, k: int):
    train, known, test, truth = case(seed, classes=2)
    reference = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(train.double(), known)
    expected = reference.score(test.double(), truth)
    assert knn(train, known, test, truth, k=k, metric=metric).accuracy == pytest.approx(expected)


@given(seed=st.integers(0, 99), k=st.integers(1, 40))
def test_equals_brute_force_with_ties(seed: int, k: int):
    train, known, test, truth = case(seed)
    train[10:20] = train[20:30] = train[:10]  # triplets of different classes, equally far from everything
    value, expected = knn(train, 7 * known - 5, test, 7 * truth - 5, k=k), slow(train, known, test, truth, k)
    assert value.accuracy == pytest.approx(expected.accuracy)
    assert value.log_loss == pytest.approx(expected.log_loss)


@pytest.mark.parametrize("chunk", [1, 7, 30])
def test_does_not_depend_on_the_chunk(chunk: int):
    data = case(0)
    assert knn(*data, chunk=chunk) == knn(*data)


def test_ties_go_to_the_nearer_class():
    train, labels = torch.tensor([[1.0], [2.0], [-3.0], [-4.0]]), torch.tensor([3, 8, 8, 3])
    assert knn(train, labels, torch.zeros(1, 1), torch.tensor([3]), k=4).accuracy == 1
    assert knn(-train.flip(0), labels, torch.zeros(1, 1), torch.tensor([8]), k=4).accuracy == 0


def test_a_majority_beats_the_nearest():
    train, labels = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 1])
    test = torch.zeros(1, 1), torch.tensor([1])
    assert knn(train, labels, *test, k=3).accuracy == 1
    assert knn(train, labels, *test, k=1).accuracy == 0


def test_log_loss_is_smoothed_and_finite_for_unseen_classes():
    train, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    result = knn(train, labels, torch.zeros(1, 1), torch.tensor([9]), k=2)
    assert result.accuracy == 0
    assert result.log_loss == pytest.approx(math.log(5))  # no vote + 1, of 2 votes + 3 classes


def test_cosine_ignores_length_and_euclidean_does_not():
    train, labels = torch.tensor([[10.0, 0.0], [0.0, 0.1]]), torch.tensor([0, 1])
    test = torch.tensor([[0.1, 0.0]]), torch.tensor([0])
    assert knn(train, labels, *test, k=1, metric="cosine").accuracy == 1
    assert knn(train, labels, *test, k=1).accuracy == 0


def test_far_from_the_origin_distances_stay_exact():
    train, known, test, truth = case(0)
    exact = knn(train.double(), known, test.double(), truth)
    assert knn(train.double() + 1e6, known, test.double() + 1e6, truth) == exact


def test_wrong_use_is_named():
    train, known, test, truth = case(0)
    with pytest.raises(UsageError, match="between 1 and the 40 training samples, not 41"):
        knn(train, known, test, truth, k=41)
    with pytest.raises(UsageError, match="not 0"):
        knn(train, known, test, truth, k=0)
    with pytest.raises(UsageError, match="knn: test: nothing to measure"):
        knn(train, known, test[:0], truth[:0])
    with pytest.raises(UsageError, match=r"train needs features \[N, D\]"):
        knn(train, known[:3], test, truth)
    with pytest.raises(UsageError, match="6 numbers, test 5"):
        knn(train, known, test[:, :5], truth)
    with pytest.raises(UsageError, match="unknown metric of knn 'cosin'"):
        knn(train, known, test, truth, metric="cosin")
    with pytest.raises(RunError, match="features of test are not finite"):
        knn(train, known, test / 0, truth)
