import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import build
from mentorch.structure import plan
from mentorch.structure._fit import fit, match

IMAGE = torch.zeros(1, 3, 8, 8)


def first(channels, count):
    return channels[:count]


def test_channels_that_a_shuffle_sends_different_ways_are_matched_to_their_like():
    """The first half of a unit's channels passes: a channel that leaves after k units must do so in both networks."""
    p = plan(build("shufflenet_v2", num_classes=3), IMAGE)
    widths = {space.name: space.size if space.pinned else -(-space.size // 2) for space in p.spaces}
    taken = match(p, fit(p, widths), first)
    assert all(len(set(indices)) == len(indices) for indices in taken.values())
    unit = [len(taken["layer1.1.right.0.weight", 1])]
    assert unit == [29]  # half of 116 channels is read in the large network, half of 58 in the small one
    kept = taken["layer1.0.left.2.weight", 0]
    # those below 29 pass the first unit, those above are read by it: 15 and 14 of them, and not the first 29
    assert [sum(index < 29 for index in kept), sum(index >= 29 for index in kept)] == [15, 14]


def test_padding_is_shared_out_again():
    p = plan(build("resnet8", num_classes=3), IMAGE)
    widths = {space.name: space.size if space.pinned else -(-4 * space.size // 5) for space in p.spaces}
    attributes = fit(p, widths).attributes
    assert attributes == {
        "layer2.0.shortcut": {"before": 6, "after": 7},
        "layer3.0.shortcut": {"before": 13, "after": 13},
    }


def test_widths_that_do_not_fit():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 5, 1))
    p = plan(network, IMAGE)
    widths = {space.name: space.size for space in p.spaces}
    with pytest.raises(
        UsageError, match=r"these widths do not fit together: '.*' needs \d+ channels that go the same way"
    ):
        match(p, fit(p, widths | {"1": 10}), first)
