import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import dist


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rho(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1]


def test_golden_values(golden, near):
    hot, cold = (dist(golden.student, golden.teacher, temperature=t) for t in (4.0, 1.0))
    near(cold["inter"], [1.5, 0, 0, 1.5])
    near(cold["intra"], (1.563366 + 0.428013 + 0.449224) / 3)
    near(cold["inter"].mean() + cold["intra"], 1.563534)
    near(hot["inter"].mean() + hot["intra"], 23.735684)


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 8), classes=st.integers(2, 6))
def test_equals_the_formula(seed: int, temperature: float, classes: int):
    z, v = logits(seed, 5, classes), logits(seed + 100, 5, classes)
    q, p = (z / temperature).softmax(1), (v / temperature).softmax(1)
    found = dist(z, v, temperature=temperature, beta=2.0, gamma=3.0)
    inter = [2 * temperature**2 * (1 - rho(a, b)) for a, b in zip(q, p, strict=True)]
    intra = [3 * temperature**2 * (1 - rho(a, b)) for a, b in zip(q.T, p.T, strict=True)]
    torch.testing.assert_close(found["inter"], torch.stack(inter), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found["intra"], torch.stack(intra).mean(), rtol=1e-7, atol=1e-9)


@given(seed=st.integers(0, 99))
def test_zero_at_equality_and_bounded_by_two_t_squared(seed: int):
    z, v = logits(seed, 5, 4), logits(seed + 100, 5, 4)
    assert all((term == 0).all() for term in dist(v, v).values())
    for term in dist(z, v).values():
        assert ((term >= 0) & (term <= 32 + 1e-9)).all()


def test_intra_does_not_depend_on_the_order_of_samples():
    z, v, order = logits(0, 5, 4), logits(1, 5, 4), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(dist(z[order], v[order])["intra"], dist(z, v)["intra"])
    assert (dist(z[order], v)["intra"] - dist(z, v)["intra"]).abs() > 1e-3


def test_inter_sees_probabilities_up_to_scale_and_shift():
    p = logits(0, 5, 4).softmax(1)
    flatter = 0.5 * p + 0.125  # a distribution again
    value = dist(flatter.log(), p.log(), temperature=1.0)
    assert (value["inter"] < 1e-12).all()


def test_two_samples_always_correlate_fully():
    value = dist(logits(0, 2, 3), logits(1, 2, 3), temperature=1.0)["intra"] * 3
    torch.testing.assert_close(value % 2, torch.zeros_like(value), rtol=0, atol=1e-9)


def test_constant_rows_and_columns_have_value_one_and_no_gradient():
    z, v = logits(0, 4, 5), logits(1, 4, 5)
    z[1] = 7.0
    z.requires_grad_()
    value = dist(z, v, temperature=2.0)["inter"]
    assert value[1] == 4
    assert (torch.autograd.grad(value.sum(), z)[0][1] == 0).all()
    same = logits(2, 1, 5).expand(4, 5)
    assert dist(same, v, temperature=2.0)["intra"] == 4


def test_pixels_take_the_place_of_samples():
    z, v = logits(0, 2, 5, 3, 4), logits(1, 2, 5, 3, 4)
    found = dist(z, v)
    rows = dist(*(x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (z, v)))
    torch.testing.assert_close(found["inter"], rows["inter"].view(2, 12).mean(1))
    torch.testing.assert_close(found["intra"], rows["intra"])


def test_wrong_use_is_named():
    z = logits(0, 2, 3)
    with pytest.raises(UsageError, match=r"dist: student \[2, 3\] and teacher \[2, 4\] differ"):
        dist(z, logits(0, 2, 4))
    with pytest.raises(UsageError, match="needs 2 or more, got 1: drop that batch"):
        dist(z[:1], z[:1])
    with pytest.raises(UsageError, match="temperature must be positive, not 0"):
        dist(z, z, temperature=0)
