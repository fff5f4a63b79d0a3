import json

import numpy as np
import pytest
import torch

from mentorch import RunError, UsageError
from mentorch.data.dense import load

RANDOM = np.random.default_rng(0)


def write(root, write_picture, count=40, size=(12, 16), *, splits=("",), depth=True, labels=4):
    for split in splits:
        for i in range(count):
            write_picture(root / split / "images" / f"{i}.png", RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8))
            write_picture(root / split / "segmentation" / f"{i}.png", RANDOM.integers(0, labels, size, dtype=np.uint8))
            if depth:
                write_picture(root / split / "depth" / f"{i}.png", np.full(size, 1000 + i, dtype=np.uint16))
    return f"folder:{root}"


def rows(split):
    """Which image each is, from its depth."""
    return (split.targets["depth"][:, 0, 0, 0] * 1000 - 1000).round().int().tolist()


def test_splits_are_disjoint_and_drawn_in_blocks_of_neighbours(tmp_path, write_picture):
    name = write(tmp_path, write_picture, count=100)
    data = load(name, validation=20)
    parts = [rows(split) for split in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert sorted(row for part in parts for row in part) == list(range(100))
    blocks = [{row // 10 for row in part} for part in parts]
    assert len(blocks[2]) == 2  # two whole tens
    # training and validation number the images that the test split leaves
    left = sorted(parts[0] + parts[1])
    for split, part in zip((data.train, data.validation), parts, strict=False):
        assert [left[i] for i in split.index.tolist()] == part
    assert data.test.index.tolist() == list(range(20))
    assert load(name, validation=20).fingerprint == data.fingerprint
    other = load(name, validation=20, split_seed=1)
    assert rows(other.test) == parts[2]
    assert rows(other.validation) != parts[1]
    assert data.note == "no official test split: 20 images held out, in blocks of 10"


def test_own_splits_are_kept(tmp_path, write_picture):
    data = load(write(tmp_path, write_picture, count=5, splits=("train", "val", "test")))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [5, 5, 5]
    assert data.note is None
    assert data.tasks == ("segmentation", "depth")
    assert data.classes == ("0", "1", "2", "3")
    assert data.camera is None


def test_normals_follow_from_depth_where_the_camera_is_known(tmp_path, write_picture):
    name = write(tmp_path, write_picture, count=20)
    camera = {"fx": 20, "fy": 20, "cx": 7.5, "cy": 5.5, "height": 12, "width": 16}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    data = load(name)
    assert data.tasks == ("segmentation", "depth", "normals")
    front = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(data.train.targets["normals"], front.expand_as(data.train.targets["normals"]))
    assert load(name, normals=False).tasks == ("segmentation", "depth")
    half = load(name, size=(6, 6))
    assert half.size == (6, 6)
    assert (half.camera.fx, half.camera.cx, half.camera.cy) == (10.0, 2.5, 2.5)  # the middle stays the middle


def test_images_are_covered_and_cut_off_equally(tmp_path, write_picture):
    wide = np.zeros((8, 16, 3), dtype=np.uint8)
    wide[:, 4:12] = 200
    labels = np.zeros((8, 16), dtype=np.uint8)
    labels[:, 4:12] = 1
    for i in range(20):
        write_picture(tmp_path / "images" / f"{i}.png", wide)
        write_picture(tmp_path / "segmentation" / f"{i}.png", labels)
    data = load(f"folder:{tmp_path}", size=8)
    assert (data.train.images == 200).all()
    assert (data.train.targets["segmentation"] == 1).all()
    assert load(f"folder:{tmp_path}").size == (8, 16)


def test_what_does_not_fit_is_refused(tmp_path, write_picture):
    name = write(tmp_path, write_picture, count=20, depth=False)
    with pytest.raises(UsageError, match="data set 'nyu:x'"):
        load("nyu:x")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(UsageError, match="validation must be"):
        load(name, validation=16)
    for own in (name, "scenes"):
        for size in (0, (0, 8), (8, -1)):
            with pytest.raises(UsageError, match="size must be 1 or more"):
                load(own, size=size)
    with pytest.raises(UsageError, match="no image is left for validation"):
        load(name, validation=0)
    (tmp_path / "classes.txt").write_text("one\ntwo")
    with pytest.raises(RunError, match="a label is 3, but there are 2 classes"):
        load(name)
    write_picture(tmp_path / "images" / "3.png", np.zeros((5, 5, 3), dtype=np.uint8))
    with pytest.raises(RunError, match=r"3\.png has \[12, 16\] pixels, its image \[5, 5\]"):
        load(name)
    write_picture(tmp_path / "segmentation" / "3.png", np.zeros((5, 5), dtype=np.uint8))
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(RunError, match="images have 2 different sizes"):
        load(name)
    assert load(name, size=8).size == (8, 8)
