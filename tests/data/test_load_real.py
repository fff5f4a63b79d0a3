"""The real archives, where this machine has them."""

from pathlib import Path

import pytest
import torch

from mentorch.data import Dataset, describe, load


def real(name: str) -> Dataset:
    if describe(name).place is None:
        pytest.skip(f"{name} is not on this machine: MENTORCH_DATA names no folder that holds it")
    return load(name)


def same_share(data: Dataset) -> bool:
    splits = (data.train, data.validation, data.test)
    return all(len(split.labels.bincount(minlength=data.num_classes).unique()) == 1 for split in splits)


def test_cifar10():
    data = real("cifar10")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert data.note is None
    assert same_share(data)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    torch.testing.assert_close(torch.tensor(data.mean), torch.tensor([0.4914, 0.4822, 0.4465]), atol=3e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(data.std), torch.tensor([0.2470, 0.2435, 0.2616]), atol=3e-4, rtol=0)
    # the first images of the official files: a frog, then a truck; a cat opens the test set
    everything = dict(zip(data.train.index.tolist(), data.train.labels.tolist(), strict=True))
    everything |= dict(zip(data.validation.index.tolist(), data.validation.labels.tolist(), strict=True))
    assert [data.classes[everything[row]] for row in range(2)] == ["frog", "truck"]
    assert data.classes[data.test.labels[0]] == "cat"


def test_the_label_names_of_the_archive_are_ours():
    place = describe("cifar10").place
    if place is None or not (place / "batches.meta.txt").is_file():
        pytest.skip("no unpacked CIFAR-10 on this machine")
    assert tuple((place / "batches.meta.txt").read_text().split()) == describe("cifar10").classes


def test_cifar100_small_or_whole():
    data = real("cifar100")
    assert data.num_classes == 100
    assert same_share(data)
    whole = len(data.train) + len(data.validation) == 50_000
    assert (data.note is None) == whole
    if not whole:
        assert data.note.endswith("the official split is not kept: numbers are not comparable with published ones")
    place = describe("cifar100").place
    if (names := place / "fine_label_names.txt").is_file():
        assert tuple(names.read_text().split()) == data.classes


@pytest.mark.parametrize(("name", "mean", "std"), [("fashion-mnist", 0.2860, 0.3530), ("mnist", 0.1307, 0.3081)])
def test_mnist_and_fashion_mnist(name, mean, std):
    data = real(name)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.note is None
    assert data.mean[0] == pytest.approx(mean, abs=3e-4)
    assert data.std[0] == pytest.approx(std, abs=3e-4)


def test_photographs_of_clothes(shared_data: Path):
    data = load(f"folder:{shared_data / 'clothing10-64'}")
    assert sum(len(s) for s in (data.train, data.validation, data.test)) == 3_781
    assert data.num_classes == 10
    assert "t-shirt" in data.classes


def test_photographs_of_birds(shared_data: Path):
    data = load(f"folder:{shared_data / 'cub50-64'}", image_size=32)
    assert sum(len(s) for s in (data.train, data.validation, data.test)) == 2_889
    assert (data.num_classes, data.image_size) == (50, 32)
    assert data.note is None
    assert torch.isin(torch.arange(50), data.validation.labels).all()
