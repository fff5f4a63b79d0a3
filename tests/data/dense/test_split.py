from dataclasses import replace

import pytest
import torch

from mentorch import Edge, Graph, UsageError
from mentorch.data import Batches, Color, Flip, sample_keys
from mentorch.data.dense import IGNORE, Camera, DenseDataset, DenseSplit, ImagesOnly, Rotate, Together, standard
from mentorch.data.dense import Flip as DenseFlip


def split(count: int = 10, size=(6, 8), offset: int = 0) -> DenseSplit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)
    targets = {
        "segmentation": torch.randint(0, 5, (count, *size), dtype=torch.uint8, generator=generator),
        "depth": 1 + torch.rand(count, 1, *size, generator=generator),
        "normals": torch.nn.functional.normalize(torch.randn(count, 3, *size, generator=generator), dim=1),
        "mask": torch.ones(count, 1, *size, dtype=torch.bool),
    }
    return DenseSplit(images, targets, torch.arange(count) + offset)


def test_a_batch_holds_a_mapping_of_targets():
    part = split(offset=100)
    batch = next(iter(Batches(part, 4)))
    assert torch.equal(batch.inputs, part.images[:4].float() / 255)
    assert batch.index.tolist() == [100, 101, 102, 103]
    assert batch.labels["segmentation"].dtype == torch.int64
    assert torch.equal(batch.labels["segmentation"], part.targets["segmentation"][:4].long())
    for name in ("depth", "normals", "mask"):
        assert torch.equal(batch.labels[name], part.targets[name][:4])


def test_order_and_augmentation_are_functions_of_seed_epoch_and_index():
    part, augment = split(), standard()
    batches = Batches(part, 4, shuffle=True, augment=augment, seed=3)
    whole = {
        i: (x, n)
        for b in batches.iterate(2)
        for i, x, n in zip(b.index.tolist(), b.inputs, b.labels["normals"], strict=True)
    }
    other = Batches(part, 3, augment=augment, seed=3)
    for b in other.iterate(2, rank=1, world=2):
        for i, x, n in zip(b.index.tolist(), b.inputs, b.labels["normals"], strict=True):
            assert torch.equal(x, whole[i][0])
            assert torch.equal(n, whole[i][1])
    late = list(batches.iterate(2, start=1))
    assert torch.equal(late[0].labels["depth"], list(batches.iterate(2))[1].labels["depth"])
    images, targets = augment.together(part.images, part.targets, sample_keys(3, 2, part.index))
    assert torch.equal(images[4], whole[4][0])
    assert torch.equal(targets["normals"][4], whole[4][1])
    assert torch.equal(augment(part.images, sample_keys(3, 2, part.index)), images)


def test_an_augmentation_that_would_leave_the_targets_behind_is_refused():
    with pytest.raises(UsageError, match=r"Flip\(probability=0.5\) changes images and not their targets"):
        next(iter(Batches(split(), 4, augment=Flip())))
    batch = next(iter(Batches(split(), 4, augment=Together((ImagesOnly(Color()),)))))
    assert torch.equal(batch.labels["depth"], split().targets["depth"][:4])


def test_a_graph_reads_the_targets_by_name():
    network = torch.nn.Conv2d(3, 1, 1)
    loss = torch.nn.functional.l1_loss
    graph = Graph({"student": network}, [Edge("labels.depth", "student", loss)])
    inputs, labels, index = next(iter(Batches(split(), 4, augment=Together((DenseFlip(1.0), Rotate(5.0))))))
    values = graph(inputs, labels, index)
    torch.testing.assert_close(next(iter(values.values())), loss(network(inputs), labels["depth"]))


def test_a_batch_may_be_changed_without_changing_the_data():
    part = split()
    batch = next(iter(Batches(part, 10)))
    batch.labels["depth"].zero_()
    batch.inputs.zero_()
    assert (part.targets["depth"] >= 1).all()
    assert part.images.any()


def test_selection_keeps_everything_together():
    part = split(offset=7).select(torch.tensor([3, 1]))
    assert part.index.tolist() == [10, 8]
    assert torch.equal(part.targets["depth"], split().targets["depth"][[3, 1]])
    assert len(part) == 2
    assert repr(part) == "DenseSplit(2 images [3, 6, 8], segmentation, depth, normals, mask)"


def test_a_dataset_knows_itself():
    parts = {name: split(count) for name, count in (("train", 8), ("validation", 2), ("test", 3))}
    data = DenseDataset.of("mine", **parts, classes=tuple("abcde"), camera=Camera.of(60.0, (6, 8)))
    assert data.tasks == ("segmentation", "depth", "normals", "mask")
    assert data.size == (6, 8)
    pixels = parts["train"].images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.transpose(0, 1).flatten(1).std(1, correction=0).tolist())
    moved = {**parts["test"].targets, "depth": parts["test"].targets["depth"] + 1}
    other = DenseDataset.of("mine", **{**parts, "test": replace(parts["test"], targets=moved)}, classes=tuple("abcde"))
    assert data.fingerprint != other.fingerprint
    assert data.fingerprint == DenseDataset.of("yours", **parts, classes=tuple("abcde")).fingerprint
    assert data.to("cpu").fingerprint == data.fingerprint
    assert IGNORE == 255


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(2, 3, 4, 4)}, r"uint8 images \[N, C, H, W\], not float32"),
        ({"index": torch.zeros(3, dtype=torch.int64)}, "as many int64 index"),
        ({"targets": {"dept": torch.zeros(2, 1, 4, 4)}}, "depth"),
        (
            {"targets": {"depth": torch.zeros(2, 4, 4)}},
            r"'depth' must be float32 \[2, 1, 4, 4\], not float32 \[2, 4, 4\]",
        ),
        ({"targets": {"segmentation": torch.zeros(2, 4, 4).long()}}, "must be uint8"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    good = {"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "targets": {}, "index": torch.arange(2)}
    DenseSplit(**good)
    with pytest.raises(UsageError, match=message):
        DenseSplit(**{**good, **changes})
