import pytest
import torch

from mentorch import UsageError
from mentorch.data import Batches
from mentorch.data.dense import load, scenes, standard


def test_the_data_set():
    data = scenes(16, train=20, validation=3, test=5, samples=1)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [20, 3, 5]
    assert data.tasks == ("segmentation", "depth", "normals")
    assert data.classes[0] == "wall"
    assert len(data.classes) == 7
    assert data.size == (16, 16)
    assert data.camera.cx == 7.5
    assert data.note == "rendered scenes, not photographs"
    assert len(list(Batches(data.train, 6, shuffle=True, augment=standard()))) == 4


def test_a_scene_does_not_depend_on_how_many_there_are():
    small, large = (scenes((12, 16), train=n, validation=2, test=2, samples=1, seed=4) for n in (3, 7))
    assert torch.equal(small.train.images, large.train.images[:3])
    assert small.fingerprint != large.fingerprint
    assert torch.equal(small.test.targets["depth"], large.test.targets["depth"])


def test_splits_and_seeds_differ():
    data = [scenes(12, train=4, validation=4, test=4, samples=1, seed=seed) for seed in (0, 1, 0)]
    pictures = [s.images for d in data[:2] for s in (d.train, d.validation, d.test)]
    assert not any(torch.equal(a, b) for i, a in enumerate(pictures) for b in pictures[:i])
    assert data[0].fingerprint == data[2].fingerprint


def test_wrong_requests_are_refused():
    with pytest.raises(UsageError, match="at least one scene"):
        scenes(16, train=0)
    for options in ({"train": 2.5}, {"size": 16.5}, {"samples": 1.5}, {"seed": 0.5}):
        with pytest.raises(UsageError, match=r"must be a whole number, not \d+\.5$"):
            scenes(**{"train": 1, "validation": 1, "test": 1, **options})
    with pytest.raises(UsageError, match="scene"):
        load("scene")
