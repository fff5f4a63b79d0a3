import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Uninformative, leep, nce


def slow(theta: Tensor, labels: Tensor) -> float:
    """Sample by sample."""
    total = 0.0
    for i, y in enumerate(labels.tolist()):
        prediction = 0.0
        for z in range(theta.shape[1]):
            mass = float(theta[:, z].sum())
            if mass > 0:
                prediction += float(theta[labels == y, z].sum()) / mass * float(theta[i, z])
        total += math.log(prediction)
    return total / len(labels)


def test_reference_values(reference):
    assert float(leep(reference("A")[2], reference("A")[1])) == pytest.approx(-2.1041716378205195, rel=1e-10)
    assert float(leep(reference("B")[2], reference("B")[1])) == pytest.approx(-1.5473572429773264, rel=1e-10)


@given(seed=st.integers(0, 99), count=st.integers(3, 20), sources=st.integers(1, 6))
def test_equals_the_formula_sample_by_sample(seed: int, count: int, sources: int):
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(count, sources, generator=generator, dtype=torch.float64).softmax(1)
    theta = torch.cat([theta, torch.zeros(count, 1)], dim=1)  # a class that nothing looks like
    labels = torch.arange(count) % 3
    if sources == 1:
        with pytest.warns(Uninformative, match="the same of all samples"):
            value = leep(theta, labels)
        entropy = torch.distributions.Categorical(labels.bincount().double()).entropy()
        assert float(value) == pytest.approx(-float(entropy))
        return
    assert float(leep(theta, labels)) == pytest.approx(slow(theta, labels), rel=1e-9)
    assert -math.log(3) * 1.2 < float(leep(theta, labels)) <= 1e-12


def test_of_certain_predictions_it_is_nce():
    generator = torch.Generator().manual_seed(0)
    source, labels = (torch.randint(5, (200,), generator=generator) for _ in range(2))
    torch.testing.assert_close(leep(torch.eye(5)[source], labels), nce(source, labels))


def test_deterministic_and_independent_sources():
    labels = torch.arange(400) % 4
    assert float(leep(torch.eye(4)[labels], labels)) == pytest.approx(0, abs=1e-12)
    assert float(leep(torch.eye(4)[torch.arange(400) // 4 % 4], labels)) == pytest.approx(-math.log(4))


def test_half_precision_probabilities_do_not_vanish():
    theta = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float16)
    assert leep(theta, torch.tensor([0, 1, 1])).isfinite()


def test_wrong_use_is_named():
    labels = torch.tensor([0, 1, 1])
    with pytest.raises(UsageError, match="of logits take the softmax first"):
        leep(torch.randn(3, 4), labels)
    with pytest.raises(UsageError, match=r"\[N, S\], got \[3\]"):
        leep(torch.ones(3), labels)
    with pytest.raises(RunError, match="leep: probabilities: not finite for 3 of 3"):
        leep(torch.full((3, 2), torch.nan), labels)
    with pytest.raises(UsageError, match="all samples are of class"):
        leep(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UsageError, match="one integer class per sample"):
        leep(torch.eye(3), torch.zeros(3))
