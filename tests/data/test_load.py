import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mentorch import RunError, UsageError
from mentorch.data import Batches, Dataset, load, standard, unlabelled


def together(data: Dataset) -> torch.Tensor:
    return torch.cat([data.train.index, data.validation.index])


def test_digits_end_to_end():
    data = load("digits")
    assert (data.name, data.num_classes, data.channels, data.image_size, data.note) == ("digits", 10, 1, 8, None)
    assert (len(data.train), len(data.validation), len(data.test)) == (1294, 144, 359)
    assert data.train.labels.dtype == torch.int64
    for split in (data.train, data.validation, data.test):
        share = split.labels.bincount(minlength=10) / len(split)
        assert (share - 0.1).abs().max() < 0.01
    batch = next(iter(Batches(data.train, 64, shuffle=True, augment=standard(data))))
    assert batch.inputs.shape == (64, 1, 8, 8)
    assert batch.inputs.max() == 1


def test_digits_are_those_of_scikit_learn_scaled():
    """Every image is in exactly one split, with its label; 0..16 becomes round(value * 255 / 16)."""
    data, bunch = load("digits"), load_digits()
    official = sorted((tuple(x.ravel().astype(int)), int(y)) for x, y in zip(bunch.images, bunch.target, strict=True))
    seen = []
    for split in (data.train, data.validation, data.test):
        values = (split.images.double() * 16 / 255).round().int()
        assert torch.equal((values.double() * 255 / 16).round().to(torch.uint8), split.images)
        seen += [(tuple(x.flatten().tolist()), y) for x, y in zip(values, split.labels.tolist(), strict=True)]
    assert sorted(seen) == official


def test_the_splits_of_digits_are_recorded():
    """A changed fingerprint means changed splits: numbers measured before are not comparable."""
    assert load("digits").fingerprint.startswith("14b5b461")


def test_the_seed_changes_validation_and_never_test():
    first, second = load("digits"), load("digits", split_seed=1)
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.validation.index, second.validation.index)
    assert first.fingerprint != second.fingerprint
    assert torch.equal(together(first).sort().values, together(second).sort().values)
    assert load("digits").fingerprint == first.fingerprint


def test_a_smaller_training_set_is_part_of_a_larger_one_and_validation_stays():
    sizes = [100, 101, 500, 1294, None]
    sets = [load("digits", train_size=size) for size in sizes]
    assert [len(d.train) for d in sets] == [100, 101, 500, 1294, 1294]
    for small, large in itertools.pairwise(sets):
        assert set(small.train.index.tolist()) <= set(large.train.index.tolist())
        assert torch.equal(small.validation.index, large.validation.index)
    assert (sets[0].train.labels.bincount() - 10).abs().max() <= 1


@pytest.mark.parametrize(("validation", "size"), [(0.3, 431), (200, 200), (0, 0)])
def test_validation_as_a_fraction_or_a_count(validation, size):
    data = load("digits", validation=validation)
    assert len(data.validation) == size
    assert together(data).sort().values.tolist() == list(range(1438))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "fashion_mnist"])
def test_idx_archives(clean, write_idx, name, packed):
    images, labels = write_idx(clean / name.replace("_", "-"), packed=packed)
    data = load(name, root=clean, validation=8)
    assert data.name == name.replace("_", "-")
    assert data.train.images.shape == (32, 1, 28, 28)
    for split in (data.train, data.validation):
        np.testing.assert_array_equal(split.images[:, 0], images[split.index])
        np.testing.assert_array_equal(split.labels, labels[split.index])
    assert data.note.startswith("40 of 60000 training records and 20 of 10000 test records;")
    assert data.mirror == (data.name == "fashion-mnist")


@pytest.mark.parametrize("tarball", [True, False])
@pytest.mark.parametrize(("name", "label_bytes"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_archives(clean, write_cifar, name, label_bytes, tarball):
    records = write_cifar(clean, label_bytes, train=203, tarball=tarball)
    data = load(name, root=clean)
    assert together(data).sort().values.tolist() == list(range(203))
    rows = records[data.train.index]
    np.testing.assert_array_equal(data.train.labels, rows[:, label_bytes - 1])  # fine labels
    np.testing.assert_array_equal(data.train.images.flatten(1), rows[:, label_bytes:])
    assert len(data.test) == 50
    assert "the official split is not kept" in data.note


@pytest.mark.parametrize("name", ["svhn", "svhn_cropped"])
def test_svhn_archives(clean, write_svhn, name):
    images, labels = write_svhn(clean / "svhn")
    data = load(name, root=clean)
    assert data.name == "svhn"
    np.testing.assert_array_equal(data.train.images, images.transpose(3, 2, 0, 1)[data.train.index])
    np.testing.assert_array_equal(data.train.labels, labels[data.train.index] % 10)


@pytest.mark.parametrize("file", ["data_batch_3.bin", "test_batch.bin"])
def test_a_cut_archive_is_named(clean, write_cifar, file):
    write_cifar(clean)
    path = clean / "cifar-10-batches-bin" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=f"{file} is cut off or damaged"):
        load("cifar10", root=clean)


def test_a_label_that_does_not_exist_is_an_error(clean, write_idx):
    write_idx(clean / "mnist", labels=[0, 1, 2, 11])
    with pytest.raises(RunError, match=r"a label lies outside 0\.\.9"):
        load("mnist", root=clean)


def test_images_of_another_size_are_an_error(clean, write_idx):
    import struct

    write_idx(clean / "mnist")
    small = struct.pack(">BBBBIII", 0, 0, 8, 3, 40, 14, 14) + bytes(40 * 14 * 14)
    (clean / "mnist" / "train-images-idx3-ubyte").write_bytes(small)
    with pytest.raises(RunError, match=r"images are \(1, 14, 14\), those of 'mnist' \(1, 28, 28\)"):
        load("mnist", root=clean)


def test_a_folder_without_test_split_gets_a_fixed_one(tmp_path, write_photos):
    write_photos(tmp_path, {"ant": 10, "bee": 20})
    data = load(f"folder:{tmp_path}", image_size=8)
    assert data.classes == ("ant", "bee")
    assert data.test.labels.bincount().tolist() == [2, 4]
    assert data.note == "no test folder: 6 of 30 images held out as test split"
    assert data.train.images.shape[1:] == (3, 8, 8)
    assert torch.equal(load(f"folder:{tmp_path}", image_size=8, split_seed=5).test.images, data.test.images)
    pixels = torch.cat([s.images[:, :2, 0, 0] for s in (data.train, data.validation, data.test)])
    assert len({tuple(p) for p in pixels.tolist()}) == 30  # every photograph once


def test_a_folder_keeps_the_splits_it_has(tmp_path, write_photos):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        write_photos(tmp_path / split, {"ant": count, "bee": count})
    data = load(f"folder:{tmp_path}")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [12, 6, 4]
    assert data.image_size == 64
    assert data.note == "validation is the folder's own"


def test_wrong_requests_are_refused(clean):
    with pytest.raises(UsageError, match=r"unknown data set 'digit': did you mean 'digits'\? \(known: .*folder:PATH"):
        load("digit")
    with pytest.raises(UsageError, match=r"train_size must lie in \[1, 1294\]"):
        load("digits", train_size=1295)
    with pytest.raises(UsageError, match="validation must be a fraction"):
        load("digits", validation=1.5)
    with pytest.raises(UsageError, match="image_size is for folder"):
        load("digits", image_size=32)
    with pytest.raises(UsageError, match="image_size must be 1 or more"):
        load(f"folder:{clean}", image_size=-3)
    with pytest.raises(UsageError, match="does not exist"):
        load(f"folder:{clean / 'nowhere'}")


def test_images_without_labels_are_all_those_below_a_folder(tmp_path, write_photos):
    write_photos(tmp_path / "a", {"deep": 3})
    write_photos(tmp_path, {"b": 2})
    data = unlabelled(tmp_path, image_size=8)
    assert (data.classes, data.num_classes, data.channels, data.image_size) == ((), 0, 3, 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (5, 0, 0)
    assert data.note == "5 images without labels"
    few, fewer = (unlabelled(tmp_path, image_size=8, train_size=n) for n in (4, 2))
    assert set(fewer.train.index.tolist()) < set(few.train.index.tolist())
    assert torch.equal(few.train.images, data.train.select(few.train.index).images)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="none holds no image"):
        unlabelled(tmp_path / "none")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        unlabelled(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="image_size must be 1 or more, not 0"):
        unlabelled(tmp_path, image_size=0)


@pytest.mark.parametrize("options", [{"train_size": 1.5}, {"train_size": "3"}, {"split_seed": 0.5}])
def test_numbers_are_whole(options):
    (name,) = options
    with pytest.raises(UsageError, match=f"{name} must be a whole number, not"):
        load("digits", **options)


def test_a_side_of_0_is_not_the_default(tmp_path):
    for size, complaint in ((0, "image_size must be 1 or more, not 0"), (2.5, "image_size must be a whole number")):
        with pytest.raises(UsageError, match=complaint):
            load(f"folder:{tmp_path}", image_size=size)
