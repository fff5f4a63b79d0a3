import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch._math import (
    align,
    computed_once,
    cosines,
    full_precision,
    length,
    log_probabilities,
    looks_like_probabilities,
    per_sample,
    probabilities,
    products,
    relative,
    same_shape,
    squared_error,
    unit,
    written,
    z_score,
)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_full_precision_touches_half_precision_alone():
    dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
    result = full_precision(*(torch.ones(2, dtype=d) for d in dtypes))
    assert [t.dtype for t in result] == [torch.float32] * 3 + dtypes[3:]


@given(seed=st.integers(0, 99), dim=st.sampled_from([0, 1, -1]))
def test_unit_equals_the_library_on_regular_rows(seed: int, dim: int):
    x = random(seed, 4, 5)
    torch.testing.assert_close(unit(x, dim), F.normalize(x, dim=dim))
    torch.testing.assert_close(length(x, dim), x.norm(dim=dim))
    assert torch.autograd.gradcheck(lambda t: (unit(t, dim), length(t, dim)), (x.requires_grad_(),))


@pytest.mark.parametrize("function", [unit, length, z_score])
@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-8])
def test_degenerate_rows_have_value_and_gradient_zero(function, tiny: float):
    x = torch.tensor([[3.0, 4.0], [tiny, 0.0]], requires_grad=True)
    result = function(x)
    (grad,) = torch.autograd.grad(result, x, torch.arange(1.0, result.numel() + 1).view_as(result))
    assert (result[1] == 0).all()
    assert (grad[1] == 0).all()
    assert grad.isfinite().all()


@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_z_score_has_mean_zero_and_deviation_one(seed: int, scale: float, shift: float):
    x = random(seed, 3, 6)
    z = z_score(x)
    torch.testing.assert_close(z.mean(1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.std(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(z_score(scale * x + shift), z, rtol=1e-8, atol=1e-8)
    assert z.abs().max() <= 5 / 6**0.5 + 1e-12


def test_products_keep_their_precision_under_autocast():
    a, b = random(0, 3, 4).float(), random(1, 5, 4).float()
    expected = a @ b.T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(products(a, b), expected)


@given(sizes=st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_align_reduces_each_axis_of_the_larger(sizes: list[int]):
    a, b = random(0, 2, 3, *sizes[:2]), random(1, 2, 4, *sizes[2:])
    small = (min(sizes[0], sizes[2]), min(sizes[1], sizes[3]))
    x, y = align(a, b)
    assert x.shape == (2, 3, *small)
    assert y.shape == (2, 4, *small)
    torch.testing.assert_close(x, F.adaptive_avg_pool2d(a, small))
    torch.testing.assert_close(y, F.adaptive_avg_pool2d(b, small))


def test_align_leaves_equal_sizes_alone():
    a, b = random(0, 2, 3, 4, 5), random(1, 2, 4, 4, 5)
    assert all(x is y for x, y in zip(align(a, b), (a, b), strict=True))


def test_per_sample_averages_the_rest():
    x = random(0, 2, 3, 4)
    torch.testing.assert_close(per_sample(x), x.mean((1, 2)))
    assert torch.equal(per_sample(x[:, 0, 0]), x[:, 0, 0])


def test_squared_error_is_the_mean_of_each_sample_and_so_is_its_gradient():
    a, b = random(0, 2, 3, 4).requires_grad_(), random(1, 2, 3, 4)
    found = squared_error(a, b)
    torch.testing.assert_close(found, (a.detach() - b).square().mean((1, 2)))
    (gradient,) = torch.autograd.grad(found.sum(), a)
    torch.testing.assert_close(gradient, 2 * (a.detach() - b) / 12)


def test_same_shape_names_both():
    same_shape("kd", torch.ones(2, 3), torch.zeros(2, 3), "hint")
    with pytest.raises(UsageError, match=r"kd: student \[2, 3\] and teacher \[3\] differ in shape: do that"):
        same_shape("kd", torch.ones(2, 3), torch.zeros(3), "do that")


def test_probabilities_are_recognised():
    logits = random(0, 8, 10)
    assert looks_like_probabilities(logits.softmax(1))
    assert looks_like_probabilities(logits.softmax(1).bfloat16())
    assert not looks_like_probabilities(logits)
    assert not looks_like_probabilities(logits.abs())
    assert not looks_like_probabilities(torch.cat([logits.softmax(1), logits]))
    assert not looks_like_probabilities(torch.ones(2, 1, dtype=torch.int64))
    assert not looks_like_probabilities(logits[:0])


@given(seed=st.integers(0, 99), shape=st.sampled_from([(4, 3), (2, 3, 5)]))
def test_products_of_rows_with_themselves(seed: int, shape: tuple[int, ...]):
    x = random(seed, *shape).requires_grad_()
    assert torch.equal(products(x, x), x @ x.mT)
    assert torch.autograd.gradcheck(lambda t: products(t, t), (x,))
    assert torch.autograd.gradgradcheck(lambda t: products(t, t), (x,))
    weights = random(seed + 1, *products(x, x).shape)  # not symmetric
    one, two = (
        torch.autograd.grad((f(x) * weights).sum(), x)[0] for f in (lambda t: products(t, t), lambda t: t @ t.mT)
    )
    torch.testing.assert_close(one, two)
    of_func = torch.func.vmap(torch.func.grad(lambda t: (products(t, t) * weights).sum()))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(of_func, torch.stack([two, 2 * two]))


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_cosines_and_relative_sizes_do_not_depend_on_the_unit(seed: int, scale: float):
    a, b = random(seed, 4, 3), random(seed + 1, 5, 3)
    torch.testing.assert_close(cosines(a, b), F.cosine_similarity(a[:, None], b[None], dim=2))
    assert torch.equal(cosines(a, a), cosines(a, a.clone()))
    torch.testing.assert_close(relative(scale * a), relative(a))
    assert (relative(a).abs().amax(1) == 1).all()
    assert (relative(torch.zeros(2, 3)) == 0).all()


@pytest.mark.parametrize("held", [lambda t: t, lambda t: [torch.ones(1), t], lambda t: {"name": "a", "x": (3, t)}])
def test_writing_in_place_is_noticed(held):
    tensor = torch.zeros(2)
    values = held(tensor)
    before = written(values)
    assert written(values) == before
    tensor.add_(1)
    assert written(values) > before


def test_tensors_without_a_counter_and_other_things_count_nothing():
    with torch.inference_mode():
        assert written([torch.zeros(2), "a", None]) == 0


@pytest.mark.parametrize("first", [torch.no_grad, torch.enable_grad])
def test_who_asks_first_without_gradient_takes_it_from_nobody(first):
    logits = torch.randn(2, 3, requires_grad=True)
    with computed_once():
        with first():
            log_probabilities(logits)
            probabilities(logits)
        assert log_probabilities(logits).requires_grad
        assert probabilities(logits).requires_grad


def test_logits_that_were_written_to_are_other_logits():
    logits = torch.tensor([[0.0, 1.0]])
    with computed_once():
        probabilities(logits)
        logits.mul_(4)
        assert torch.equal(probabilities(logits), log_probabilities(logits.clone()).exp())
