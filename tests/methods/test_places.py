from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch.methods._distill._places import pair_by_size

SIZES = st.lists(st.sampled_from([1, 4, 16, 49, 64, 196, 256, 1024]), min_size=1, max_size=5)


@given(first=SIZES, second=SIZES)
def test_pairs_are_in_order_complete_and_the_nearest(first: list[int], second: list[int]) -> None:
    pairs = pair_by_size(first, second)
    assert len(pairs) == min(len(first), len(second))
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))

    def apart(chosen: list[tuple[int, int]]) -> float:
        ratios = [first[i] / second[j] for i, j in chosen]
        return torch.tensor([max(r, 1 / r) for r in ratios], dtype=torch.float64).log().sum().item()

    n, flip = len(pairs), len(first) > len(second)
    rest = combinations(range(max(len(first), len(second))), n)
    choices = [[(j, i) if flip else (i, j) for i, j in enumerate(chosen)] for chosen in rest]
    assert apart(pairs) <= min(map(apart, choices)) + 1e-9
    assert [(j, i) for i, j in pair_by_size(second, first)] == pairs


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1024, 256, 64], [1024, 256, 64], [(0, 0), (1, 1), (2, 2)]),
        ([256, 64, 16], [1024, 256, 64, 16], [(0, 1), (1, 2), (2, 3)]),
        ([1024, 256, 64], [196, 196, 196, 196], [(0, 0), (1, 2), (2, 3)]),  # equally near: even in depth
        ([1024, 256, 64], [65] * 12, [(0, 3), (1, 7), (2, 11)]),
        ([65] * 12, [197] * 24, [(i, 2 * i + 1) for i in range(12)]),
        ([1024, 256, 64, 16, 16], [1024, 256, 64, 16], [(0, 0), (1, 1), (2, 2), (4, 3)]),
        ([3, 3], [7], [(1, 0)]),
    ],
)
def test_examples(first: list[int], second: list[int], expected: list[tuple[int, int]]) -> None:
    assert pair_by_size(first, second) == expected
