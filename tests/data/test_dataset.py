import dataclasses

import numpy as np
import pytest
import torch

from mentorch import UsageError
from mentorch.data import Dataset, Split
from mentorch.data._dataset import moments, to_float


def split(count: int = 12, channels: int = 3, seed: int = 0) -> Split:
    images = torch.randint(
        0, 256, (count, channels, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Split(images, torch.arange(count) % 4, torch.arange(count))


def dataset(**changes) -> Dataset:
    parts = {"train": split(), "validation": split(4, seed=1), "test": split(4, seed=2), "classes": tuple("abcd")}
    return Dataset.of("mine", **parts | changes)


def test_mean_and_std_are_those_of_the_training_pixels():
    data = dataset(train=split(5000))
    pixels = data.train.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(data.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)


def test_the_moments_of_one_colour():
    mean, std = moments(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean == (0.2,)
    assert std == (0.0,)


def test_conveniences():
    data = dataset()
    assert (data.num_classes, data.channels, data.image_size, len(data.train)) == (4, 3, 5, 12)
    moved = data.to("cpu")
    assert torch.equal(moved.train.images, data.train.images)
    assert moved.fingerprint == data.fingerprint


def test_images_that_are_not_square_have_no_single_size():
    wide = Split(torch.zeros(2, 1, 4, 6, dtype=torch.uint8), torch.zeros(2).long(), torch.arange(2))
    with pytest.raises(UsageError, match="4 x 6"):
        _ = dataset(train=wide).image_size


def test_the_fingerprint_covers_pixels_labels_rows_classes_and_who_is_where():
    base = dataset()
    assert dataset().fingerprint == base.fingerprint
    images = base.train.images.clone()
    images[3, 1, 2, 2] += 1
    train = base.train
    others = [
        dataset(train=Split(images, train.labels, train.index)),
        dataset(train=Split(train.images, train.labels.flip(0), train.index)),
        dataset(train=Split(train.images, train.labels, train.index.flip(0))),
        dataset(classes=tuple("abce")),
        dataset(validation=base.test, test=base.validation),
        dataset(train=train.select(torch.arange(11))),
    ]
    assert len({d.fingerprint for d in [base, *others]}) == 7


def test_a_split_prints_in_one_line_and_is_frozen():
    part = split()
    assert repr(part) == "Split(12 images [3, 5, 5], cpu)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.labels = part.index


def test_selecting_rows_keeps_images_labels_and_index_together():
    part = split()
    chosen = part.select(torch.tensor([7, 2]))
    assert chosen.index.tolist() == [7, 2]
    assert chosen.labels.tolist() == [3, 2]
    assert torch.equal(chosen.images[0], part.images[7])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(12, 3, 5, 5)}, r"uint8 images \[N, C, H, W\], not float32"),
        ({"images": torch.zeros(12, 5, 5, dtype=torch.uint8)}, r"not uint8 \[12, 5, 5\]"),
        ({"labels": torch.zeros(12, dtype=torch.uint8)}, "int64 labels, not uint8"),
        ({"labels": torch.zeros(11).long()}, r"int64 labels, not int64 \[11\]"),
        ({"index": torch.zeros(12)}, "int64 index, not float32"),
        ({"labels": torch.zeros(12, device="meta").long()}, "images are on cpu, labels on meta"),
    ],
)
def test_other_tensors_are_refused(change, message):
    part = split()
    parts = {"images": part.images, "labels": part.labels, "index": part.index}
    with pytest.raises(UsageError, match=message):
        Split(**parts | change)


def test_bytes_become_fractions_and_fractions_stay():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(every), torch.arange(256).float() / 255)
    assert to_float(every).max() == 1
    half = torch.rand(3)
    assert to_float(half) is half
