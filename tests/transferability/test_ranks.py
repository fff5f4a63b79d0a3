import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from mentorch.transferability._ranks import average_ranks, off_diagonal, standard_ranks

VALUES = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=30)


@given(values=VALUES)
def test_average_ranks_equal_scipy(values: list[float]):
    expected = torch.from_numpy(rankdata(values)) - 1
    torch.testing.assert_close(average_ranks(torch.tensor(values)), expected)


@given(values=VALUES, seed=st.integers(0, 99))
def test_inner_products_of_standard_ranks_are_rank_correlations(values: list[float], seed: int):
    first = torch.tensor(values, dtype=torch.float64)
    second = torch.randint(4, first.shape, generator=torch.Generator().manual_seed(seed)).double()
    value = standard_ranks(first) @ standard_ranks(second)
    if first.unique().numel() == 1 or second.unique().numel() == 1:
        assert value == 0
    else:
        torch.testing.assert_close(value, torch.tensor(spearmanr(first, second).statistic))


def test_rounding_errors_are_ties():
    x = torch.tensor([0.1 + 0.2, 0.3, 0.5], dtype=torch.float64)
    assert x[0] != x[1]
    assert standard_ranks(x)[0] == standard_ranks(x)[1]
    torch.testing.assert_close(standard_ranks(1e-30 * x), standard_ranks(x))


def test_pairs_come_row_by_row_without_the_diagonal():
    assert off_diagonal(torch.arange(9).view(3, 3)).tolist() == [1, 2, 5]
