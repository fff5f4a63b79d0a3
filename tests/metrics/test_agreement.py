import pytest
import torch
from scipy.stats import entropy

from mentorch._errors import UsageError
from mentorch.metrics import agreement, divergence


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(2 * torch.randn(12, 5, dtype=torch.float64, generator=generator) for _ in range(2))


def test_agreement_counts_equal_choices():
    student, teacher = pair()
    expected = [
        float(a.index(max(a)) == b.index(max(b))) for a, b in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    assert 0 < sum(expected) < 12
    assert agreement(student, teacher).tolist() == expected
    assert agreement(teacher, student).tolist() == expected
    assert agreement(3 * teacher + 1, teacher).all()


def test_divergence_equals_scipy_and_is_led_by_the_teacher():
    student, teacher = pair()
    q, p = student.softmax(1).numpy(), teacher.softmax(1).numpy()
    torch.testing.assert_close(divergence(student, teacher), torch.from_numpy(entropy(p, q, axis=1)))
    assert not torch.allclose(divergence(student, teacher), divergence(teacher, student), rtol=0.01)
    assert divergence(teacher + 7, teacher).abs().max() < 1e-12


def test_confident_opposites_have_a_finite_divergence():
    student, teacher = torch.tensor([[900.0, 0.0]]), torch.tensor([[0.0, 900.0]])
    assert divergence(student, teacher).tolist() == [900.0]


def test_a_nan_agrees_with_nothing():
    student, teacher = pair()
    student[0] = torch.nan
    teacher[1] = torch.nan
    assert agreement(student, teacher)[:2].tolist() == [0, 0]
    assert agreement(student[:1], student[:1]).tolist() == [0]
    assert divergence(student, teacher)[:2].isnan().all()


@pytest.mark.parametrize("metric", [agreement, divergence])
def test_wrong_use_is_named(metric):
    with pytest.raises(UsageError, match="nothing to measure"):
        metric(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(UsageError, match=r"got \[2, 3\] and \[2, 4\]"):
        metric(torch.zeros(2, 3), torch.zeros(2, 4))
