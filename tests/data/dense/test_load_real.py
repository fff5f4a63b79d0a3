"""The real samples, where this machine has them."""

import torch

from mentorch.data import Batches
from mentorch.data.dense import IGNORE, load, standard


def test_camvid(shared_data):
    data = load(f"camvid:{shared_data / 'camvid-small'}", size=(60, 80))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [367, 101, 233]
    labels = data.train.targets["segmentation"]
    counts = labels.flatten().long().bincount(minlength=256)
    assert (counts[:11] > 0).all()
    assert counts[11:IGNORE].sum() == 0
    share = counts[:11].double() / counts[:11].sum()
    assert share.argmax() == data.classes.index("road")
    # streets have the sky above and the road below
    rows = torch.arange(60.0).view(1, 60, 1).expand_as(labels)
    height = {name: rows[labels == data.classes.index(name)].mean() for name in ("sky", "building", "road")}
    assert height["sky"] < height["building"] < height["road"]


def test_nyuv2(shared_data):
    data = load(f"nyuv2:{shared_data / 'nyuv2-small'}", size=(60, 80))
    assert sum(len(s) for s in (data.train, data.validation, data.test)) == 363
    assert data.tasks == ("segmentation", "depth", "normals")
    assert data.note.startswith("363 of 1449 images; no official test split")
    labels, depth, normals = (data.train.targets[task] for task in data.tasks)
    assert labels[labels != IGNORE].max() < 39
    assert 0.1 < (labels == IGNORE).float().mean() < 0.4
    assert 2 < depth[depth > 0].mean() < 4
    # floors look up, ceilings down, in the axes of a camera that is held upright
    normal = {
        name: normals.permute(0, 2, 3, 1)[labels == data.classes.index(name)].mean(0)
        for name in ("floor", "ceiling", "wall")
    }
    assert normal["floor"][1] < -0.6
    assert normal["ceiling"][1] > 0.5
    assert normal["wall"][1].abs() < 0.25
    assert normal["wall"][2] < -0.4
    batch = next(iter(Batches(data.train, 8, shuffle=True, augment=standard())))
    assert batch.inputs.shape == (8, 3, 60, 80)
    assert batch.labels["normals"].isfinite().all()


def test_nyuv2_in_13_classes(shared_data):
    fine, coarse = (load(f"{kind}:{shared_data / 'nyuv2-small'}", size=30) for kind in ("nyuv2", "nyuv2-13"))
    many, few = (data.test.targets["segmentation"] for data in (fine, coarse))
    assert torch.equal(many == IGNORE, few == IGNORE)
    for name in ("wall", "floor", "bed", "sofa", "ceiling"):
        assert (few[many == fine.classes.index(name)] == coarse.classes.index(name)).all()
    assert len(coarse.classes) == 13
