import pytest
import torch

from mentorch import UsageError
from mentorch.data import Resize


def test_a_half_is_the_mean_of_fours_where_the_image_is_smooth():
    ramp = torch.arange(8.0)[None, None, None, :].expand(1, 2, 8, 8)
    small = Resize(4)(ramp)
    assert small.shape == (1, 2, 4, 4)
    torch.testing.assert_close(small[0, 0, 0, 1:3], torch.tensor([2.5, 4.5]))
    assert Resize((2, 4))(ramp).shape == (1, 2, 2, 4)


def test_constants_stay_and_nothing_happens_at_the_same_size():
    images = torch.full((2, 3, 5, 7), 0.25)
    torch.testing.assert_close(Resize((9, 3))(images), torch.full((2, 3, 9, 3), 0.25))
    assert Resize((5, 7))(images) is images
    assert repr(Resize(4)) == "Resize(4x4)"


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="positive size, not 0"):
        Resize(0)
    for size in (2.5, (2, 2.5)):
        with pytest.raises(UsageError, match=r"Resize: a size must be a whole number, not 2\.5"):
            Resize(size)
    for wrong in (torch.ones(3, 4, 4), torch.ones(1, 3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(UsageError, match="floating-point images"):
            Resize(2)(wrong)
