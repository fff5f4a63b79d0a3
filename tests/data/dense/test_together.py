import pytest
import torch

from mentorch import UsageError, data
from mentorch.data import Color, Cutout, draw, sample_keys
from mentorch.data.dense import IGNORE, Crop, Flip, ImagesOnly, Resize, Rotate, Together, Zoom, resize, standard

KEY = sample_keys(0, 0, torch.arange(3))


def sample(size=(16, 24)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, generator=generator)
    targets = {
        "segmentation": torch.randint(0, 5, (3, *size), dtype=torch.uint8, generator=generator),
        "depth": 1 + torch.rand(3, 1, *size, generator=generator),
        "normals": torch.nn.functional.normalize(torch.randn(3, 3, *size, generator=generator), dim=1),
        "mask": torch.ones(3, 1, *size, dtype=torch.bool),
    }
    return images, targets


def test_neighbouring_geometry_is_one_reading():
    images, targets = sample()
    steps = (Flip(1.0), Rotate(10.0), Zoom(1.1, 1.2), Crop(12))
    found, labels = Together(steps).together(images, targets, KEY)
    placed = steps[0].place(draw(KEY, 0), (16, 24))
    for number, step in enumerate(steps[1:], start=1):
        placed = placed.then(step.place(draw(KEY, number), placed.size))
    assert torch.equal(found, placed.image(images))
    assert all(torch.equal(labels[name], values) for name, values in placed.targets(targets).items())
    assert found.shape == (3, 3, 12, 12)


def test_photometric_steps_touch_the_image_alone():
    images, targets = sample()
    steps = (ImagesOnly(Color()), Flip(1.0), ImagesOnly(Cutout(4)))
    found, labels = Together(steps).together(images, targets, KEY)
    plain, same = Together((Flip(1.0),)).together(images, targets, KEY)
    assert not torch.equal(found, plain)
    assert all(torch.equal(labels[name], same[name]) for name in targets)
    expected = Cutout(4)(Color()(images, draw(KEY, 0)).flip(3), draw(KEY, 2))
    assert torch.equal(found, expected)


def test_the_standard_augmentation_keeps_the_size_and_differs_by_sample():
    images, targets = sample()
    same = images[:1].expand(3, -1, -1, -1)
    found, labels = standard().together(same, targets, KEY)
    assert found.shape == same.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert not torch.equal(found[0], found[1])
    assert all(labels[name].shape == targets[name].shape for name in targets)


def test_nothing_to_do_changes_nothing():
    images, targets = sample()
    found, labels = Together(()).together(images, targets, KEY)
    assert torch.equal(found, images / 255)
    assert all(torch.equal(labels[name], targets[name]) for name in targets)


def test_resize_keeps_the_values_of_every_kind():
    images, targets = sample()
    targets["segmentation"][:, 0] = IGNORE
    targets["depth"][:, :, 3] = 0
    targets["normals"][:, :, 5] = 0
    found, labels = resize(images, targets, (8, 12))
    assert found.dtype == torch.uint8
    assert found.shape == (3, 3, 8, 12)
    expected = torch.nn.functional.interpolate(images.float(), (8, 12), mode="bilinear", antialias=True)
    assert (found.float() - expected).abs().max() <= 0.5
    assert torch.isin(labels["segmentation"], targets["segmentation"]).all()
    assert torch.isin(labels["depth"], targets["depth"]).all()
    assert labels["mask"].all()
    length = labels["normals"].norm(dim=1)
    assert ((length - 1).abs() < 1e-5).logical_or(length == 0).all()
    again, same = resize(images, targets, (16, 24))
    assert again is images
    assert all(same[name] is targets[name] for name in targets)


def test_resize_to_a_multiple_and_back_restores_the_labels():
    images, targets = sample()
    large, more = resize(images, targets, (48, 72))
    _, back = resize(large, more, (16, 24))
    for name in ("segmentation", "depth", "mask"):
        assert torch.equal(back[name], targets[name])


def test_resize_as_a_step_comes_between():
    images, targets = sample()
    found, labels = Together((Flip(1.0), Resize(8), Flip(1.0))).together(images, targets, KEY)
    expected, same = resize(images / 255, targets, 8)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(labels["normals"], same["normals"], atol=1e-6, rtol=0)


def test_it_runs_where_the_images_are_without_waiting():
    """A device without values: every tensor must be made there, and no value may be read."""
    images, targets = sample()
    steps = (Flip(), Rotate(), Zoom(), Crop(12, padding=2), Resize(9), ImagesOnly(Color()))
    there = {name: values.to("meta") for name, values in targets.items()}
    found, labels = Together(steps).together(images.to("meta"), there, KEY.to("meta"))
    assert found.shape == (3, 3, 9, 9)
    assert {x.device.type for x in (found, *labels.values())} == {"meta"}


@pytest.mark.parametrize(
    "augment",
    [data.Flip(1.0), data.PadCrop(2), data.Compose((Color(), data.Compose((data.Flip(),)))), Rotate(), Resize(8)],
    ids=lambda augment: type(augment).__name__,
)
def test_what_moves_pixels_is_not_for_images_only(augment):
    with pytest.raises(UsageError, match=r"ImagesOnly: .* moves pixels, and targets would stay: use dense\.Flip"):
        ImagesOnly(augment)
    assert ImagesOnly(data.Compose((Color(), Cutout(2)))).augment.steps


def test_wrong_steps_are_refused():
    with pytest.raises(UsageError, match=r"Flip\(.*\) is no step of Together: use dense\.Flip"):
        Together((data.Flip(),))
    with pytest.raises(UsageError, match=r"Color\(.*\) is no step of Together"):
        Together((Color(),))
    with pytest.raises(UsageError, match="size must be 1 or more, not 0"):
        Resize(0)
    with pytest.raises(UsageError, match="norm"):
        resize(torch.zeros(1, 3, 4, 4), {"norm": torch.zeros(1, 3, 4, 4)}, 2)
