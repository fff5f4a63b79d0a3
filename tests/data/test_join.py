import pytest
import torch

from mentorch import UsageError
from mentorch.data import Dataset, LabelSpace, Split, join, only


def data(name: str, classes: str, size: int = 4, seed: int = 0, **options) -> Dataset:
    draw = torch.Generator().manual_seed(seed)

    def split(count: int, start: int = 0) -> Split:
        images = torch.randint(0, 256, (count, 3, size, size), generator=draw, dtype=torch.uint8)
        return Split(images, torch.arange(count) % len(classes), start + torch.arange(count))

    return Dataset.of(name, train=split(12), validation=split(5, 12), test=split(6), classes=tuple(classes), **options)


def test_only_some_classes_are_left_with_labels_of_their_own():
    whole = data("d", "abcd")
    part = only(whole, ["d", "b"])
    assert part.classes == ("d", "b")
    rows = (whole.train.labels == 3) | (whole.train.labels == 1)
    assert part.train.images.equal(whole.train.images[rows])
    assert part.train.index.equal(whole.train.index[rows])
    assert [part.classes[k] for k in part.train.labels] == [whole.classes[k] for k in whole.train.labels[rows]]
    assert part.note == "2 of 4 classes"
    assert part.fingerprint != whole.fingerprint
    with pytest.raises(UsageError, match="unknown class of 'd' 'e'"):
        only(whole, ["e"])
    for wrong in ([], ["a", "a"]):
        with pytest.raises(UsageError, match="name the classes of 'd' to keep, each once"):
            only(whole, wrong)


def test_joined_data_have_joint_labels_and_indices_of_their_own():
    one, other = data("one", "ab", note="small"), data("two", "bcd", seed=1, mirror=False)
    space = LabelSpace.union({"x": one.classes, "y": other.classes})
    both = join({"x": one, "y": other}, space)
    assert both.classes == ("a", "b", "c", "d")
    assert (both.name, both.note, both.mirror) == ("one+two", "x: small", False)
    for which in ("train", "validation", "test"):
        parts, split = [getattr(d, which) for d in (one, other)], getattr(both, which)
        assert split.images.equal(torch.cat([p.images for p in parts]))
        names = [d.classes[k] for d, p in zip((one, other), parts, strict=True) for k in p.labels]
        assert [both.classes[k] for k in split.labels] == names
        assert len(split.index.unique()) == len(split)
    assert not set(both.train.index.tolist()) & set(both.validation.index.tolist())
    total = (one.mean[0] + other.mean[0]) / 2
    assert both.mean[0] == pytest.approx(total)


def test_images_of_classes_that_were_not_chosen_are_left_out():
    one, other = data("one", "ab"), data("two", "cd", seed=1)
    space = LabelSpace.union({"x": one.classes, "y": other.classes}).only(["d", "a"])
    both = join({"x": one, "y": other}, space)
    assert len(both.train) == 12
    assert set(both.train.labels.tolist()) == {0, 1}


def test_wrong_use_is_named():
    one, large = data("one", "ab"), data("two", "cd", size=8)
    space = LabelSpace.union({"x": one.classes, "y": large.classes})
    with pytest.raises(UsageError, match="one shape, got x 3x4x4, y 3x8x8: load folders with one image_size"):
        join({"x": one, "y": large}, space)
    with pytest.raises(UsageError, match="unknown part of the label space 'z'"):
        join({"z": one}, space)
    with pytest.raises(UsageError, match="'x' has 3 classes, 2 in the label space"):
        join({"x": data("d", "abc")}, space)
    with pytest.raises(UsageError, match="no training image is left"):
        join({"x": one}, space.only(["c"]))
    with pytest.raises(UsageError, match="no data sets to join"):
        join({}, space)
