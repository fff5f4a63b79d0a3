import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mentorch._errors import RunError, UsageError
from mentorch.transferability import rsa


@given(seed=st.integers(0, 99))
@settings(max_examples=15)
def test_equals_the_rank_correlation_of_dissimilarities(seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(10, size, generator=generator, dtype=torch.float64) for size in (4, 7))
    pairs = np.triu_indices(10, 1)
    expected = spearmanr(*((1 - np.corrcoef(t.numpy()))[pairs] for t in (x, y))).statistic
    assert float(rsa(x, y)) == pytest.approx(expected)
    assert rsa(x, y) == rsa(y, x)


def test_scale_and_an_offset_of_each_sample_do_not_matter():
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(rsa(x, 1e-9 * x + 1e-9 * torch.arange(20)[:, None])) == pytest.approx(1)


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="3 samples of the candidate, 4 of the reference"):
        rsa(torch.eye(3), torch.eye(4))
    with pytest.raises(UsageError, match="3 samples or more, got 2"):
        rsa(torch.eye(2), torch.eye(2))
    with pytest.raises(UsageError, match="reference: correlating samples needs 2 dimensions"):
        rsa(torch.randn(5, 3), torch.arange(5.0)[:, None])
    with pytest.raises(RunError, match="features: all pairs of samples are equally similar"):
        rsa(torch.eye(5), torch.randn(5, 3))
