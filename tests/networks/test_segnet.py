import pytest
import torch
from torch import nn

from mentorch import UsageError
from mentorch.networks import segnet, vgg16
from mentorch.networks._segnet import Down, Up


def test_unpooling_is_that_of_torch():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    x = torch.randn(2, 4, 6, 8)
    expected = unpool(*pool(x))
    down, up = Down(4, (4,)), Up(4, (4,))
    down.body, up.body = nn.Identity(), nn.Identity()
    found = up(*down(x))
    assert torch.equal(found, expected)
    odd = up(*down(x[:, :, :5, :7]))
    assert odd.shape == (2, 4, 5, 7)
    kept = odd != 0
    assert torch.equal(odd[kept], x[:, :, :5, :7][kept])


def test_the_default_is_vgg16_and_its_mirror_image():
    network = segnet(12)
    assert network.widths == (512, 512, 256, 128, 64, 64)
    assert list(dict(network.decoder.named_children())) == ["up5", "up4", "up3", "up2", "up1", "head"]
    convolutions = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    known = [m for m in vgg16().modules() if isinstance(m, nn.Conv2d)]
    assert [m.weight.shape for m in convolutions] == [m.weight.shape for m in known]
    mirrored = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    backwards = [(m.in_channels, m.out_channels) for m in reversed(convolutions)]
    # each turned around, but for the first convolution of the image, whose mirror image is the head
    assert [(m.out_channels, m.in_channels) for m in mirrored[:-1]] == backwards[:-1]
    assert (mirrored[-1].in_channels, mirrored[-1].out_channels) == (64, 12)


def test_wrong_widths_are_refused():
    with pytest.raises(UsageError, match="as many widths as depths"):
        segnet(3, widths=(8, 8), depths=(1,))
