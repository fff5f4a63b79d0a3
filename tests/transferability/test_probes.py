import pytest
import torch

from mentorch import data
from mentorch._errors import UsageError
from mentorch.data import Dataset, Split
from mentorch.transferability import probes


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def coloured(digits: Dataset, channels: int = 3) -> Dataset:
    """Another data set: larger, with channels that differ."""
    images = torch.arange(10 * channels * 16 * 16).remainder(251).byte().view(10, channels, 16, 16)
    split = Split(images, torch.zeros(10, dtype=torch.int64), torch.arange(10))
    return Dataset.of("mine", train=split, validation=split, test=split, classes=("a",), note=None, mirror=False)


def test_images_are_rgb_in_zero_to_one_and_of_one_size(digits: Dataset):
    found = probes([digits, coloured(digits)], 15)
    assert found.shape == (15, 3, 16, 16)
    assert found.min() >= 0
    assert found.max() <= 1
    gray, own = found[:8], found[8:]
    assert torch.equal(gray[:, 0], gray[:, 2])
    assert torch.equal(own, coloured(digits).validation.images[[0, 1, 2, 4, 5, 7, 8]].float() / 255)


def test_they_are_spread_over_validation_images_and_always_the_same(digits: Dataset):
    found = probes([digits], 20)
    assert torch.equal(found, probes([digits], 20))
    own = digits.validation.images.float().expand(-1, 3, -1, -1) / 255
    places = [int((own == image).flatten(1).all(1).nonzero()[0]) for image in found]
    assert places == sorted(set(places))
    assert places[-1] > 0.9 * len(own)


def test_wrong_use_is_named(digits: Dataset):
    with pytest.raises(UsageError, match="at least one data set"):
        probes([])
    with pytest.raises(UsageError, match="'mine' has 10 validation images, 11 are asked for"):
        probes([coloured(digits)], 11)
    with pytest.raises(UsageError, match="have 4 channels, not 1 or 3"):
        probes([coloured(digits, 4)], 5)
