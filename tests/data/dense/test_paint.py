import math

import pytest
import torch

from mentorch import UsageError
from mentorch.data.dense import class_colours, paint


def test_classes_have_the_colours_of_pascal_voc():
    # aeroplane .. cow of the development kit
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    known += [(128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0)]
    assert class_colours(11) == known
    assert len(set(class_colours(255))) == 255
    assert (224, 224, 192) not in class_colours(255)


def test_logits_are_painted_as_their_most_probable_class():
    logits = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(paint("segmentation", logits), paint("segmentation", logits.argmax(1)))
    assert torch.equal(paint("segmentation", logits.argmax(1).byte()), paint("segmentation", logits))


def test_depth_is_on_a_scale_of_its_logarithm_and_brighter_when_near():
    metres = torch.tensor([0.5, 1.0, math.sqrt(10), 10.0, 99.0, 0.0, math.nan, -1.0]).view(1, 1, 1, 8)
    found = paint("depth", metres, near=1.0, far=10.0)[0, :, 0].T.tolist()
    assert found[0] == found[1] == [253, 231, 37]
    assert found[2] == [33, 145, 140]  # the middle
    assert found[3] == found[4] == [68, 1, 84]
    assert found[5:] == [[0, 0, 0]] * 3  # unknown
    ramp = paint("depth", torch.linspace(1, 10, 50).view(1, 1, 1, 50), near=1.0, far=10.0)[0, :, 0].float()
    brightness = torch.tensor([0.2126, 0.7152, 0.0722]) @ ramp
    assert (brightness.diff() < 0).all()
    with pytest.raises(UsageError, match="0 < near < far, not 3"):
        paint("depth", metres, near=3.0, far=3.0)


def test_normals_show_right_up_and_towards_the_viewer():
    vectors = torch.tensor([[1.0, 0, 0], [0, -2.0, 0], [0, 0, -1.0], [0, 0, 0]]).T.view(1, 3, 1, 4)
    assert paint("normals", vectors)[0, :, 0].T.tolist() == [
        [255, 128, 128],
        [128, 255, 128],
        [128, 128, 255],
        [0, 0, 0],
    ]


def test_images_of_one_channel_or_three():
    grey = torch.rand(2, 1, 3, 3)
    assert torch.equal(paint("images", grey)[:, 0], (grey[:, 0] * 255).round().byte())
    bytes_ = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(paint("images", bytes_), bytes_)
    with pytest.raises(UsageError, match="unknown kind of picture 'flow'"):
        paint("flow", grey)
