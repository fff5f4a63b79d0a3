import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import attention


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow(student: list, teacher: list, power: float) -> float:
    """Squared distance of the two unit attention vectors of one sample of equal size, cell by cell."""

    def vector(sample: list) -> list[float]:
        height, width = len(sample[0]), len(sample[0][0])
        cells = [sum(abs(c[h][w]) ** power for c in sample) for h in range(height) for w in range(width)]
        norm = math.sqrt(sum(x * x for x in cells))
        return [x / norm for x in cells]

    return sum((a - b) ** 2 for a, b in zip(vector(student), vector(teacher), strict=True))


def test_golden_values(golden, near):
    released = attention(golden.student_map, golden.teacher_map)
    near(released, [0.0569888, 0.0326236])
    near(released.mean(), 0.0448062)
    near(attention(golden.student_map, golden.teacher_map, variant="paper"), [0.477446, 0.361240])


@given(seed=st.integers(0, 99), power=st.sampled_from([1, 1.5, 2, 3, 4]))
def test_equals_the_formula(seed: int, power: float):
    student, teacher = maps(seed, 2, 3, 4, 2), maps(seed + 100, 2, 5, 4, 2)
    squares = [slow(s, t, power) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    expected = torch.tensor(squares, dtype=torch.float64)
    torch.testing.assert_close(attention(student, teacher, power=power), expected / 8)
    torch.testing.assert_close(attention(student, teacher, power=power, variant="paper"), expected.sqrt())


def test_is_the_angle_between_attention_vectors():
    student, teacher = maps(0, 2, 3, 4, 4), maps(1, 2, 5, 4, 4)
    cosine = F.cosine_similarity(*(x.square().sum(1).flatten(1) for x in (student, teacher)))
    torch.testing.assert_close(attention(student, teacher), (2 - 2 * cosine) / 16)


@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1e5, 1e15])
def test_scale_and_channel_order_do_not_matter(scale: float):
    student, teacher = maps(0, 2, 3, 4, 4).float(), maps(1, 2, 5, 4, 4).float()
    expected = attention(student, teacher)
    torch.testing.assert_close(attention(scale * student, teacher), expected)
    torch.testing.assert_close(attention(student, scale * teacher), expected)
    torch.testing.assert_close(attention(student.flip(1), teacher), expected)


def test_the_larger_side_is_averaged_whichever_it_is():
    large, small = maps(0, 2, 3, 8, 4), maps(1, 2, 5, 4, 6)
    aligned = F.adaptive_avg_pool2d(large, (4, 4)), F.adaptive_avg_pool2d(small, (4, 4))
    torch.testing.assert_close(attention(large, small), attention(*aligned))
    torch.testing.assert_close(attention(small, large), attention(*aligned[::-1]))


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_zero_maps_and_equal_maps_get_no_gradient(variant: str):
    student = maps(0, 3, 2, 4, 4)
    student[0] = 0
    teacher = maps(1, 3, 2, 4, 4)
    teacher[1] = 2 * student[1]
    student.requires_grad_()
    value = attention(student, teacher, variant=variant)
    value.sum().backward()
    assert value[1] < 1e-12
    assert (student.grad[0] == 0).all()
    assert student.grad[1].abs().max() < 1e-12
    assert student.grad[2].abs().sum() > 0


def test_wrong_use_is_named():
    image = torch.zeros(2, 3, 4, 4)
    with pytest.raises(UsageError, match=r"needs two maps .* got \[2, 3\] and \[2, 3, 4, 4\]"):
        attention(torch.zeros(2, 3), image)
    with pytest.raises(UsageError, match="one batch"):
        attention(image[:1], image)
    with pytest.raises(UsageError, match=r"at least 1, not 0\.5"):
        attention(image, image, power=0.5)
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        attention(image, image, variant="papers")
