import itertools

import pytest
import torch
from torch import nn

from mentorch import UsageError
from mentorch.networks import unet


def test_the_default_has_the_convolutions_of_the_paper():
    network = unet(2, 1)
    pairs = [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, nn.Conv2d)]
    widths = [1, 64, 128, 256, 512, 1024]
    down = [pair for a, b in itertools.pairwise(widths) for pair in ((a, b), (b, b))]
    up = [pair for w in (512, 256, 128, 64) for pair in ((2 * w, w), (w, w))]
    assert pairs == [*down, *up, (64, 2)]
    raised = [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert raised == [(1024, 512), (512, 256), (256, 128), (128, 64)]


def test_the_decoder_reads_the_encoders_maps():
    network = unet(2, 3, widths=(8, 12, 16)).eval()
    images = torch.randn(1, 3, 16, 16)
    x, left = network.encode(images)
    assert [None if y is None else tuple(y.shape[1:]) for y in left] == [(12, 8, 8), (8, 16, 16), None]
    changed = network.decode(x, [left[0], torch.zeros_like(left[1]), None])
    assert not torch.allclose(changed, network.decode(x, left))


def test_one_level_is_none():
    with pytest.raises(UsageError, match="at least two levels"):
        unet(2, widths=(8,))
