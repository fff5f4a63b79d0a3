import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import Edge, Graph, UsageError, freeze
from mentorch.losses import OFA, dist, dkd, kd, mlkd, standardized


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def total(value):
    return sum(term.mean() for term in value.values()) if isinstance(value, dict) else value.mean()


LOSSES = [kd, partial(kd, temperature=2.0), dist, mlkd, partial(dkd, beta=2.0)]


def sources(loss, v: torch.Tensor) -> list[torch.Tensor]:
    return [v, torch.arange(len(v)) % 3] if getattr(loss, "func", loss) is dkd else [v]


def test_golden_values(golden, near):
    loss = standardized(partial(kd, temperature=2.0))
    near(loss(golden.student, golden.teacher), [1.038882, 0, 0, 1.090043])
    near(loss(golden.student, golden.teacher).mean(), 0.532231)


@pytest.mark.parametrize("loss", LOSSES)
def test_is_the_loss_of_the_z_scores(loss):
    z, v = logits(0, 6, 5), logits(1, 6, 5)
    by_hand = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (z, v)]
    expected = loss(by_hand[0], *sources(loss, by_hand[1]))
    torch.testing.assert_close(total(standardized(loss)(z, *sources(loss, v))), total(expected))


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_ignores_scale_and_shift_of_each_side(loss, seed: int, scale: float, shift: float):
    z, v = logits(seed, 4, 5), logits(seed + 100, 4, 5)
    wrapped = standardized(loss)
    expected = total(wrapped(z, *sources(loss, v)))
    for a, b in ((scale * z + shift, v), (z, scale * v + shift)):
        torch.testing.assert_close(total(wrapped(a, *sources(loss, b))), expected, rtol=1e-7, atol=1e-10)
    assert total(wrapped(scale * v + shift, *sources(loss, v))).abs() < 1e-9


def test_hot_limit_is_the_correlation():
    z, v = logits(0, 4, 5), logits(1, 4, 5)
    rho = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(z, v, strict=True)])
    torch.testing.assert_close(standardized(partial(kd, temperature=1e4))(z, v), 0.8 * (1 - rho), rtol=1e-3, atol=0)


@pytest.mark.parametrize("flat", [0.0, 0.1, 100.1, -7e3])
def test_a_constant_row_gets_no_gradient(flat: float):
    z, v = logits(0, 3, 10).float(), logits(1, 3, 10).float()
    z[1] = flat
    z.requires_grad_()
    standardized(kd)(z, v).sum().backward()
    assert (z.grad[1] == 0).all()
    assert z.grad[0].abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_finite_at_every_scale(dtype: torch.dtype):
    for scale in (1e-3, 60.0, 600.0):
        z, v = ((scale * logits(seed, 4, 5)).to(dtype) for seed in (0, 1))
        value = standardized(kd)(z.requires_grad_(), v)
        assert value.dtype is torch.float32
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), z)[0].isfinite().all()


def test_gradients_are_those_of_the_value():
    z, v = logits(0, 3, 4).requires_grad_(), logits(1, 3, 4)
    assert torch.autograd.gradcheck(lambda x: standardized(kd)(x, v), (z,))


def test_prints_compares_and_travels():
    loss = standardized(partial(kd, temperature=2.0))
    assert repr(loss) == "standardized(partial(kd, temperature=2.0))"
    assert loss.__name__ == "standardized(kd)"
    assert standardized(kd) == standardized(kd) != standardized(dkd)
    z, v = logits(0, 3, 4), logits(1, 3, 4)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(z, v), loss(z, v))


def test_learns_on_an_edge_that_compiles():
    torch.manual_seed(0)
    teacher, student = freeze(torch.nn.Linear(4, 3)), torch.nn.Linear(4, 3)
    graph = Graph({"teacher": teacher, "student": student}, [Edge("teacher", "student", standardized(kd))])
    x = torch.randn(5, 4)
    (name,) = found = graph(x)
    assert name == "teacher -> student: standardized(kd)"
    expected = standardized(kd)(student(x), teacher(x)).mean()
    torch.testing.assert_close(found[name], expected)
    graph.compile(backend="aot_eager")
    torch.testing.assert_close(graph(x)[name], expected)


def test_wraps_no_loss_with_weights():
    for loss in (OFA, OFA(), partial(OFA, exponent=1.5)):
        with pytest.raises(UsageError, match=r"standardized: wraps losses on logits without weights, not .*OFA"):
            standardized(loss)
