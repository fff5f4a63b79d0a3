import pytest
import torch

from mentorch.data.dense._textures import mixture


@pytest.mark.parametrize("pattern", range(5))
def test_shares_lie_between_0_and_1_and_patterns_vary(pattern):
    place = torch.rand(2, 3, 500, generator=torch.Generator().manual_seed(0)) * 20 - 10
    share = mixture(place, torch.full((2, 500), pattern))
    assert share.shape == (2, 500)
    assert 0 <= share.min() <= share.max() <= 1
    assert (share.std() > 0.2) == (pattern > 0)


def test_checks_change_from_cell_to_cell():
    place = torch.tensor([[0.5, 1.5, 2.5, 0.5], [0.5, 0.5, 0.5, -0.5], [0.5] * 4])[None]
    assert mixture(place, torch.ones(1, 4, dtype=torch.int64)).tolist() == [[0, 1, 0, 1]]
