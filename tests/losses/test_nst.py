import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import nst


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Squared mean discrepancy of the channels of one sample, pair by pair."""

    def points(features: torch.Tensor) -> list[list[float]]:
        return [(channel / channel.norm()).flatten().tolist() for channel in features]

    def mean_kernel(first: list[list[float]], second: list[list[float]]) -> float:
        values = [sum(a * b for a, b in zip(x, y, strict=True)) ** 2 for x in first for y in second]
        return sum(values) / len(values)

    x, y = points(student), points(teacher)
    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def test_golden_values(golden, near):
    near(nst(golden.student_map, golden.teacher_map), [1.427816, 1.556325])


@given(seed=st.integers(0, 99), c=st.integers(1, 9), d=st.integers(1, 9), side=st.sampled_from([1, 2, 4]))
def test_equals_the_formula_whichever_form_is_cheaper(seed: int, c: int, d: int, side: int):
    student, teacher = maps(seed, 2, c, side, 2), maps(seed + 100, 2, d, side, 2)
    expected = torch.tensor([slow(s, t) for s, t in zip(student, teacher, strict=True)], dtype=torch.float64)
    value = nst(student, teacher)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    assert (value > -1e-12).all()


@pytest.mark.parametrize("side", [2, 8])  # the form over cells, the form over channels
def test_order_and_scale_of_channels_do_not_matter(side: int):
    student, teacher = maps(0, 2, 12, side, side), maps(1, 2, 9, side, side)
    scales = torch.logspace(-3, 4, 12, dtype=torch.float64).view(1, 12, 1, 1)
    torch.testing.assert_close(nst(student * scales, teacher), nst(student, teacher))
    torch.testing.assert_close(nst(student.flip(1), teacher), nst(student, teacher))
    torch.testing.assert_close(nst(student, student.flip(1) * 5), torch.zeros(2, dtype=torch.float64))


def test_the_larger_side_is_averaged_whichever_it_is():
    large, small = maps(0, 2, 3, 8, 4), maps(1, 2, 5, 4, 6)
    aligned = F.adaptive_avg_pool2d(large, (4, 4)), F.adaptive_avg_pool2d(small, (4, 4))
    torch.testing.assert_close(nst(large, small), nst(*aligned))
    torch.testing.assert_close(nst(small, large), nst(*aligned[::-1]))


def test_a_dead_channel_gets_no_gradient():
    student = maps(0, 2, 3, 4, 4)
    student[:, 1] = 0
    student.requires_grad_()
    nst(student, maps(1, 2, 5, 4, 4)).sum().backward()
    assert (student.grad[:, 1] == 0).all()
    assert student.grad[:, 0].abs().sum() > 0


def test_wide_maps_need_no_product_of_channels_and_cells():
    student, teacher = torch.rand(2, 256, 7, 7), torch.rand(2, 512, 7, 7)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            sizes.extend([result.numel()] if isinstance(result, torch.Tensor) else [])
            return result

    with Watch():
        nst(student, teacher)
    assert max(sizes) == teacher.numel()


def test_wrong_use_is_named():
    image = torch.zeros(2, 3, 4, 4)
    with pytest.raises(UsageError, match=r"nst: needs two maps .* got \[2, 3\] and \[2, 3, 4, 4\]"):
        nst(torch.zeros(2, 3), image)
    with pytest.raises(UsageError, match="one batch"):
        nst(image[:1], image)
