import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch.zoo import Card, Input, Prepare

GRAY = Input(1, (8, 8), (0.5,), (0.25,), order="gray")
RGB = Input(3, (8, 8), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def images(channels=3, size=(8, 8)):
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))


def test_images_of_the_right_kind_are_only_normalised():
    x = images()
    expected = (x - torch.tensor(RGB.mean)[:, None, None]) / torch.tensor(RGB.std)[:, None, None]
    torch.testing.assert_close(Prepare(RGB)(x), expected)


def test_order_and_range_of_caffe():
    x = images()
    found = Prepare(Input(3, (8, 8), (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "bgr", (0.0, 255.0)))(x)
    for place, (channel, mean) in enumerate(((2, 104.0), (1, 117.0), (0, 123.0))):
        torch.testing.assert_close(found[:, place], 255 * x[:, channel] - mean)


def test_range_of_tensorflow():
    x = images()
    found = Prepare(Input(3, (8, 8), (0.0,) * 3, (1.0,) * 3, range=(-1.0, 1.0)))(x)
    torch.testing.assert_close(found, 2 * x - 1)


def test_gray_and_colour():
    gray = images(1)
    torch.testing.assert_close(Prepare(RGB)(gray), Prepare(RGB)(gray.repeat(1, 3, 1, 1)))
    # what is gray stays as it is, whatever the weights of the colours, and green is brighter than blue
    torch.testing.assert_close(Prepare(GRAY)(gray.repeat(1, 3, 1, 1)), Prepare(GRAY)(gray))
    green, blue = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    green[:, 1], blue[:, 2] = 1, 1
    assert (Prepare(GRAY)(green) > Prepare(GRAY)(blue)).all()


def test_another_size_is_stretched_unless_it_is_to_be_cropped():
    x = images(size=(16, 32))
    bare = Input(3, (8, 8), (0.0,) * 3, (1.0,) * 3)
    smaller = F.interpolate(x, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(Prepare(bare)(x), smaller)
    middle = F.interpolate(x[..., 8:24], (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(Prepare(Input(3, (8, 8), (0.0,) * 3, (1.0,) * 3, resize="crop"))(x), middle)
    wide = Prepare(Input(3, (4, 8), (0.0,) * 3, (1.0,) * 3, resize="crop"))(x)
    torch.testing.assert_close(wide, F.interpolate(x, (4, 8), mode="bilinear", antialias=True))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (Input(4, (8, 8), (0.0,) * 4, (1.0,) * 4, order="rgbd"), "4 channels as 'rgbd'"),
        (Input(1, (8, 8), (0.0,), (1.0,), order="rgb"), "1 channels as 'rgb'"),
        (Input(3, (8, 8), (0.0,) * 3, (1.0,) * 3, resize="squeeze"), "resize 'squeeze'"),
    ],
)
def test_what_cannot_be_made_is_an_error(expected, message):
    with pytest.raises(UsageError, match=message):
        Prepare(expected)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8).byte()])
def test_other_images_are_an_error(wrong):
    with pytest.raises(UsageError, match=r"needs images in \[0, 1\]"):
        Prepare(RGB)(wrong)


def test_a_prepared_network_reads_any_image_and_keeps_its_weights(keep):
    network, card = zoo.load(keep("a", input=GRAY))
    whole = zoo.prepared(network, card)
    assert whole(images(3, (20, 12))).shape == (2, 3)
    assert torch.equal(whole(images(1)), network((images(1) - 0.5) / 0.25))
    assert dict(whole.named_modules())["network.fc"] is network.fc
    assert [name for name in whole.state_dict() if not name.startswith("network.")] == []


def test_without_facts_about_the_input_images_pass_as_they_are():
    whole = zoo.prepared(nn.Identity(), Card("x", "resnet8", {"num_classes": 2, "in_channels": 1}))
    x = images(1)
    assert torch.equal(whole(x), x)
    with pytest.raises(UsageError, match="reads 4 channels"):
        zoo.prepared(nn.Identity(), Card("x", "resnet8", {"num_classes": 2, "in_channels": 4}))
