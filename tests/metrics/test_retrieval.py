import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mentorch._errors import RunError, UsageError
from mentorch.metrics import _retrieval, retrieval


def case(seed: int, queries: int = 9) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 5, generator=generator)
    labels = torch.cat([torch.arange(3), torch.randint(3, (37 + queries,), generator=generator)])
    features = centres[labels] + torch.randn(len(labels), 5, generator=generator)
    return features[:40], labels[:40], features[40:], labels[40:]


def relevance(train: torch.Tensor, known: torch.Tensor, test: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    a, b = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (train, test))
    order = np.argsort(-(b @ a.T), axis=1, kind="stable")
    return known.numpy()[order] == truth.numpy()[:, None]


def six_items(pattern: list[int]) -> tuple[torch.Tensor, ...]:
    """A base of six items that a query at angle 0 meets in the order of the pattern: 1 relevant, 0 not."""
    angles = torch.linspace(0.1, 1.5, 6)
    base = torch.stack([angles.cos(), angles.sin()], dim=1)
    order = torch.tensor([3, 0, 5, 2, 4, 1])  # stored in another order
    return base[order], torch.tensor(pattern)[order], torch.tensor([[2.0, 0.0]]), torch.tensor([1])


def test_six_items_by_hand():
    result = retrieval(*six_items([1, 0, 1, 0, 0, 1]), at=[1, 2, 3, 6])
    assert result.precision == pytest.approx({1: 1, 2: 1 / 2, 3: 2 / 3, 6: 1 / 2})
    assert result.average_precision == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    # Recall 1/3 at rank 1, 2/3 at rank 3, 1 at rank 6: levels 0..0.3 -> 1, 0.4..0.6 -> 2/3, 0.7..1 -> 1/2.
    assert result.interpolated == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11)


def test_interpolation_looks_ahead():
    result = retrieval(*six_items([0, 1, 1, 0, 0, 0]), at=[1])
    assert result.precision == {1: 0.0}
    assert result.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.interpolated == pytest.approx(2 / 3)


@given(seed=st.integers(0, 99))
def test_equals_independent_formulas(seed: int):
    data = case(seed)
    relevant = relevance(*data)
    result = retrieval(*data, at=[1, 10, 40])
    assert result.precision == pytest.approx({k: relevant[:, :k].mean() for k in (1, 10, 40)})
    scores = -np.arange(40)
    assert result.average_precision == pytest.approx(np.mean([average_precision_score(r, scores) for r in relevant]))
    points = []
    for row in relevant:
        precision, hits = row.cumsum() / np.arange(1, 41), row.cumsum()
        points += [precision[10 * hits >= level * hits[-1]].max() for level in range(11)]
    assert result.interpolated == pytest.approx(np.mean(points))


def published(relevant: np.ndarray, batch: int) -> float:
    """What the published evaluation computes: interpolation over the first ``batch`` ranks, nearest recall."""
    totals = []
    for part in np.split(relevant, range(batch, len(relevant), batch)):
        for row in part:
            precision = row.cumsum() / np.arange(1, len(row) + 1)
            for i in reversed(range(len(part) - 1)):
                precision[i] = max(precision[i], precision[i + 1])
            recall = row.cumsum() / row.sum()
            totals.append(np.mean([precision[np.abs(recall - level / 10).argmin()] for level in range(11)]))
    return float(np.mean(totals))


@pytest.mark.parametrize("queries", [9, 30])
def test_public_protocol_reproduces_the_published_evaluation(queries: int):
    data = case(1, queries)
    result, exact = retrieval(*data, at=[10], protocol="public"), retrieval(*data, at=[10])
    assert result.interpolated == pytest.approx(published(relevance(*data), batch=128))
    assert result.interpolated != pytest.approx(exact.interpolated)
    assert result.precision == exact.precision
    assert result.average_precision == pytest.approx(exact.average_precision)


def test_public_protocol_takes_batches(monkeypatch):
    data = case(1, 30)
    monkeypatch.setattr(_retrieval, "_PUBLIC_BATCH", 8)
    result = retrieval(*data, at=[10], protocol="public").interpolated
    assert result == pytest.approx(published(relevance(*data), batch=8))


def test_does_not_depend_on_how_many_queries_come_together(monkeypatch):
    data = case(0)
    whole = retrieval(*data, at=[10])
    monkeypatch.setattr(_retrieval, "_CELLS", 80)  # two queries at once
    split = retrieval(*data, at=[10])
    assert split.interpolated == pytest.approx(whole.interpolated, rel=1e-12)
    assert split.average_precision == pytest.approx(whole.average_precision, rel=1e-12)
    singles = [retrieval(*data[:2], data[2][i : i + 1], data[3][i : i + 1], at=[10]).interpolated for i in range(9)]
    assert np.mean(singles) == pytest.approx(whole.interpolated, rel=1e-12)


def test_equal_samples_keep_their_order_whatever_the_rounding():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(1, 65, generator=generator).expand(101, 65)
    queries = torch.randn(5, 65, generator=generator)  # a matrix product gives equal columns different last bits
    for place in (0, 40, 100):
        labels = (torch.arange(101) == place).long()
        result = retrieval(base, labels, queries, torch.ones(5, dtype=torch.int64), at=[1])
        assert result.average_precision == pytest.approx(1 / (place + 1), rel=1e-12)


@pytest.mark.parametrize("protocol", ["exact", "public"])
def test_a_class_without_training_samples_scores_nothing(protocol: str):
    train, known, test, _ = case(0)
    result = retrieval(train, known, test, torch.full((9,), 77), at=[10], protocol=protocol)
    assert (result.interpolated, result.average_precision, result.precision) == (0.0, 0.0, {10: 0.0})


def test_wrong_use_is_named():
    train, known, test, truth = case(0)
    with pytest.raises(UsageError, match="first 50 of 40 training samples"):
        retrieval(train, known, test, truth)
    with pytest.raises(UsageError, match="first 0 of"):
        retrieval(train, known, test, truth, at=[0])
    with pytest.raises(UsageError, match="retrieval: train: nothing to measure"):
        retrieval(train[:0], known[:0], test, truth, at=[1])
    with pytest.raises(UsageError, match="train has 6 numbers a sample, test 5"):
        retrieval(torch.ones(40, 6), known, test, truth, at=[1])
    with pytest.raises(UsageError, match="did you mean 'public'"):
        retrieval(train, known, test, truth, at=[1], protocol="publik")
    with pytest.raises(RunError, match="features of train are not finite"):
        retrieval(train / 0, known, test, truth, at=[1])
