import pytest
import torch
import torch.nn.functional as F

from mentorch._errors import UsageError
from mentorch.losses import fsp


def maps(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def slow(first: torch.Tensor, second: torch.Tensor) -> list[list[float]]:
    """The matrix of one sample's two maps of one size, entry by entry."""
    cells = [(h, w) for h in range(first.shape[1]) for w in range(first.shape[2])]
    return [[sum(float(a[c] * b[c]) for c in cells) / len(cells) for b in second] for a in first]


def test_golden_values(golden, near):
    student, teacher = golden.student_map, golden.teacher_map
    near(fsp((student, student.flip(3)), teacher, teacher.flip(2)), [0.0983, 2.1663])


def test_equals_the_formula_for_three_maps():
    shapes = (2, 2, 3, 2), (2, 3, 3, 2), (2, 4, 3, 2)
    student, teacher = maps(0, *shapes), maps(1, *shapes)
    expected = []
    for b in range(2):
        total = 0.0
        for i in range(2):
            g_s, g_t = (torch.tensor(slow(m[i][b], m[i + 1][b])) for m in (student, teacher))
            total += float((g_s - g_t).square().mean())
        expected.append(total)
    torch.testing.assert_close(fsp(student, *teacher), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("pooling", "pool"), [("average", F.adaptive_avg_pool2d), ("max", F.adaptive_max_pool2d)])
def test_the_larger_map_of_a_pair_is_pooled(pooling, pool):
    student, teacher = maps(0, (2, 3, 8, 6), (2, 4, 4, 8)), maps(1, (2, 3, 4, 4), (2, 4, 4, 4))
    small = [pool(m, (4, 6)) for m in student]
    torch.testing.assert_close(fsp(student, *teacher, pooling=pooling), fsp(small, *teacher, pooling=pooling))
    other = "max" if pooling == "average" else "average"
    assert not torch.allclose(fsp(student, *teacher, pooling=pooling), fsp(student, *teacher, pooling=other))


def test_cells_may_change_places_together():
    student, teacher = maps(0, (2, 3, 4, 4), (2, 5, 4, 4)), maps(1, (2, 3, 4, 4), (2, 5, 4, 4))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    moved = [m.flatten(2)[:, :, order].view_as(m) for m in student]
    torch.testing.assert_close(fsp(moved, *teacher), fsp(student, *teacher))
    one = [student[0], moved[1]]
    assert not torch.allclose(fsp(one, *teacher), fsp(student, *teacher))


def test_zero_at_equality():
    student = maps(0, (2, 3, 8, 8), (2, 5, 4, 4))
    assert torch.equal(fsp(student, *student), torch.zeros(2, dtype=torch.float64))


def test_wrong_use_is_named():
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)
    with pytest.raises(UsageError, match="two or more on each side, got 1 and 1"):
        fsp(a, a)
    with pytest.raises(UsageError, match="got 2 and 1"):
        fsp((a, b), a)
    with pytest.raises(UsageError, match=r"same channels on both sides, got \[2, 5, 4, 4\] and \[2, 3, 4, 4\].*nst"):
        fsp((a, b), a, a)
    with pytest.raises(UsageError, match="did you mean 'average'"):
        fsp((a, b), a, b, pooling="avarage")
