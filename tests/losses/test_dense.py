import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import Edge, Graph, UsageError
from mentorch.losses import berhu, depth_l1, depth_l2, normal_cosine, scale_invariant

DEPTHS = {
    "l1": depth_l1,
    "l2": depth_l2,
    "berhu": berhu,
    "scale_invariant": scale_invariant,
    "log": partial(scale_invariant, weight=0.3, log=True),
}
ALL = {**DEPTHS, "normals": normal_cosine}


def batch(name, seed=0, dtype=torch.float64, count=3, size=(4, 5)):
    """Student, truth with unknown pixels, mask; the last image is wholly unknown."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3 if name == "normals" else 1, *size)
    student, truth = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    if name != "normals":
        student, truth = student.exp(), truth.exp()
    unknown = torch.rand(count, 1, *size, generator=generator) < 0.3
    unknown[-1] = True
    mask = torch.rand(count, 1, *size, generator=generator) < 0.7
    return student.to(dtype), truth.masked_fill(unknown, 0.0).to(dtype), mask


def slow(name, student, truth, mask):
    """One image after the other, one pixel after the other."""
    errors, values = [], []
    for s, t, m in zip(student.numpy(), truth.numpy(), mask.numpy(), strict=True):
        kept = (t != 0).any(0) & m[0]
        errors.append((s[:, kept].T, t[:, kept].T))
    largest = max((np.abs(s - t).max() for s, t in errors if len(s)), default=0.0)
    for s, t in errors:
        if not len(s):
            values.append(0.0)
        elif name == "normals":
            values.append(
                np.mean([1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(s, t, strict=True)])
            )
        elif name in ("scale_invariant", "log"):
            d = (s if name == "log" else np.log(s)) - np.log(t)
            values.append(np.mean(d**2) - (0.3 if name == "log" else 0.5) * np.mean(d) ** 2)
        elif name == "berhu":
            c = 0.2 * largest
            values.append(np.mean([abs(x) if abs(x) <= c else (x**2 + c**2) / (2 * c) for x in (s - t).ravel()]))
        else:
            values.append(np.mean(np.abs(s - t) ** (1 if name == "l1" else 2)))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 10_000))
def test_against_loops(name, seed):
    student, truth, mask = batch(name, seed)
    torch.testing.assert_close(ALL[name](student, truth, mask), slow(name, student, truth, mask))
    whole = torch.ones_like(mask)
    torch.testing.assert_close(ALL[name](student, truth), slow(name, student, truth, whole))


@pytest.mark.parametrize("name", ALL)
def test_what_stands_at_unknown_pixels_does_not_matter(name):
    student, truth, mask = batch(name)
    plain = ALL[name](student, truth, mask)
    student = student.requires_grad_()
    unknown = (truth == 0).all(1, keepdim=True) | ~mask
    other = torch.where(unknown.expand_as(student), math.nan, student)
    wild = torch.where(~mask.expand_as(truth), 1e30, truth)
    found = ALL[name](other, wild, mask)
    assert torch.equal(found, plain)
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert gradient.isfinite().all()
    assert (gradient[unknown.expand_as(gradient)] == 0).all()
    assert (gradient[~unknown.expand_as(gradient)] != 0).any()
    assert found[-1] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("name", DEPTHS)
def test_depth_that_is_none_counts_as_unknown(name, value):
    student, truth, mask = batch(name)
    odd = torch.where(truth == 0, value, truth)
    assert torch.equal(DEPTHS[name](student, odd, mask), DEPTHS[name](student, truth, mask))


@pytest.mark.parametrize("name", ALL)
def test_equality_is_0_with_no_gradient_to_the_truth(name):
    _, truth, _ = batch(name)
    truth = truth.requires_grad_()
    student = (truth.detach().clamp(min=1e-9).log() if name == "log" else truth.detach().clone()).requires_grad_()
    value = ALL[name](student, truth)
    torch.testing.assert_close(value, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    value.sum().backward()
    assert truth.grad is None


@pytest.mark.parametrize("name", ALL)
def test_gradients(name):
    student, truth, mask = batch(name)
    loss = ALL[name]
    if name == "berhu":  # whose limit is constant: fix it by a large error elsewhere
        student = torch.cat((student, torch.full_like(student[:1], 50.0)))
        truth, mask = torch.cat((truth, torch.ones_like(truth[:1]))), torch.cat((mask, mask[:1] | True))
        assert torch.autograd.gradcheck(
            lambda s: loss(torch.cat((s, student[3:])), truth, mask), student[:3].requires_grad_()
        )
        return
    assert torch.autograd.gradcheck(lambda s: loss(s, truth, mask), student.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_computed_in_full(name, dtype):
    student, truth, mask = batch(name, dtype=dtype)
    found = ALL[name](student * 100, truth * 100, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ALL[name]((student * 100).float(), (truth * 100).float(), mask))
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_sample_depends_on_itself_alone_but_for_the_limit_of_berhu(name):
    student, truth, mask = batch(name)
    together = ALL[name](student, truth, mask)
    apart = torch.cat([ALL[name](student[i : i + 1], truth[i : i + 1], mask[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, apart) == (name != "berhu")
    doc = inspect.unwrap(getattr(ALL[name], "func", ALL[name])).__doc__
    assert ("Kind ``row``" in doc) == (name == "berhu")


@pytest.mark.parametrize("name", ALL)
def test_it_compiles_as_one_graph(name):
    student, truth, mask = batch(name, dtype=torch.float32)
    compiled = torch.compile(ALL[name], backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(student, truth, mask), ALL[name](student, truth, mask))


@pytest.mark.parametrize("name", ALL)
def test_the_host_does_not_wait_for_the_device(name):
    """A device without values: every tensor must be made there, and no value may be read."""
    assert ALL[name](*(x.to("meta") for x in batch(name))).device.type == "meta"


def test_an_edge_from_a_target_with_a_mask():
    network = torch.nn.Conv2d(3, 1, 1)
    graph = Graph({"student": network}, [Edge(("labels.depth", "labels.mask"), "student", depth_l1)])
    inputs, (_, truth, mask) = torch.rand(3, 3, 4, 5), batch("l1", dtype=torch.float32)
    value = next(iter(graph(inputs, {"depth": truth, "mask": mask}).values()))
    torch.testing.assert_close(value, depth_l1(network(inputs), truth, mask).mean())


def test_berhu_meets_at_its_limit_and_is_0_without_errors():
    truth = torch.ones(1, 1, 1, 3)
    errors = torch.tensor([5.0, 1.0, 0.5]).view_as(truth)  # c = 1
    assert berhu(truth + errors, truth).item() == pytest.approx((13.0 + 1.0 + 0.5) / 3)
    assert berhu(truth, truth).item() == 0
    wide = berhu(truth + errors, truth, share=1.0)
    torch.testing.assert_close(wide, depth_l1(truth + errors, truth))


@given(st.floats(0.1, 9))
def test_a_global_factor_is_forgiven_by_weight_1(factor):
    student, truth, _ = batch("l1")
    one = scale_invariant(student, truth, weight=1.0)
    torch.testing.assert_close(scale_invariant(factor * student, truth, weight=1.0), one)
    assert not torch.allclose(scale_invariant(3 * student, truth), scale_invariant(student, truth))


@given(st.floats(1e-3, 1e3))
def test_the_length_of_predicted_normals_does_not_matter(factor):
    student, truth, mask = batch("normals")
    torch.testing.assert_close(normal_cosine(factor * student, truth, mask), normal_cosine(student, truth, mask))
    assert normal_cosine(-truth, truth)[:2].tolist() == pytest.approx([2.0, 2.0])


def test_divergence_is_not_hidden():
    for name, loss in ALL.items():
        student, truth, _ = batch(name)
        assert loss(student * math.nan, truth)[:2].isnan().all(), name


def test_wrong_requests_are_refused():
    for name, loss in ALL.items():
        with pytest.raises(UsageError, match="differ in shape"):
            loss(torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 5))
        assert name
    one = torch.ones(1, 1, 2, 2)
    with pytest.raises(UsageError, match="share must be positive, not 0"):
        berhu(one, one, share=0)
    with pytest.raises(UsageError, match=r"weight must lie in \[0, 1\], not 2"):
        scale_invariant(one, one, weight=2)
