import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.transferability import Features


@given(seed=st.integers(0, 99), count=st.integers(2, 30), size=st.integers(1, 30))
def test_the_factorization_is_the_singular_value_decomposition(seed: int, count: int, size: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, generator=generator, dtype=torch.float64)
    targets = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    features = Features(x)
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    assert features.rank <= len(s)
    torch.testing.assert_close(features.squares.sqrt(), s[: features.rank], rtol=1e-6, atol=1e-6)
    u = u[:, : features.rank]
    torch.testing.assert_close(features.project(targets).square(), (u.mT @ targets).square(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.left.mT @ features.left, torch.eye(features.rank).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(features.coordinates @ features.coordinates.mT, x @ x.mT, rtol=0, atol=1e-6)


def test_columns_beyond_a_block_are_in_the_gram_matrix_too():
    x = torch.randn(1400, 1100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(Features(x).squares, torch.linalg.eigvalsh(x.mT @ x).flip(0))


def test_rank_leaves_out_what_is_lost_in_rounding():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert Features(x @ torch.ones(3, 20, dtype=torch.float64)).rank == 1
    assert Features(torch.cat([x, x], dim=1)).rank == 3
    assert Features(x.mT).centred.rank == 2


def test_a_single_sample_is_refused():
    with pytest.raises(UsageError, match="needs 2 samples or more"):
        Features(torch.ones(1, 4))
    with pytest.raises(UsageError, match="nothing to score"):
        Features(torch.ones(0, 4))
