import json

import numpy as np
import pytest

from mentorch import UsageError
from mentorch.data.dense import _layouts as layouts

BYTE = np.zeros((4, 6), dtype=np.uint8)
PICTURE = np.zeros((4, 6, 3), dtype=np.uint8)


def counts(layout):
    return {split: len(records) for split, records in layout.splits.items()}


def test_camvid(tmp_path, write_picture):
    for split, number in (("train", 3), ("val", 1), ("test", 2)):
        for i in range(number):
            write_picture(tmp_path / split / f"{i}.jpg", PICTURE)
            write_picture(tmp_path / f"{split}annot" / f"{i}.png", BYTE + 11 * (i == 0))
    layout = layouts.camvid(tmp_path)
    assert counts(layout) == {"train": 3, "validation": 1, "test": 2}
    record = layout.splits["train"][0]
    assert (layout.read["segmentation"](record["segmentation"]) == 255).all()
    assert len(layout.classes) == 11


@pytest.mark.parametrize(
    ("folder", "value", "expected"),
    [("labels40", 4, 3), ("labels40", 39, 255), ("seg40", 5, 3), ("seg40", 0, 255), ("seg13", 4, 3), ("seg13", 0, 255)],
)
def test_nyuv2_labels(tmp_path, write_picture, folder, value, expected):
    write_picture(tmp_path / "images" / "1.jpg", PICTURE)
    write_picture(tmp_path / "depth" / "1.png", BYTE)
    path = write_picture(tmp_path / folder / "1.png", BYTE + value)
    layout = layouts.nyuv2(tmp_path, 13)
    assert counts(layout) == {"train": 1}
    # class 4 of 40 is "chair", the fourth of 13
    assert (layout.read["segmentation"](path) == expected).all()
    assert layout.note == "1 of 1449 images"
    assert layout.camera[1] == (480, 640)


def test_nyuv2_in_splits_of_arrays(tmp_path, write_picture):
    for split in ("train", "val"):
        write_picture(tmp_path / split / "image" / "0.npy", PICTURE / 255)
        write_picture(tmp_path / split / "label" / "0.npy", BYTE - 1.0)
        write_picture(tmp_path / split / "depth" / "0.npy", BYTE[..., None] + 2.0)
        write_picture(tmp_path / split / "normal" / "0.npy", np.zeros((4, 6, 3)))
    layout = layouts.nyuv2(tmp_path, 13)
    assert counts(layout) == {"train": 1, "test": 1}
    record = layout.splits["test"][0]
    assert set(record) == {"images", "segmentation", "depth", "normals"}
    assert (layout.read["segmentation"](record["segmentation"]) == 255).all()
    assert (layout.read["depth"](record["depth"]) == 2).all()
    with pytest.raises(UsageError, match="13 or 40 classes, not 20"):
        layouts.nyuv2(tmp_path, 20)


def test_cityscapes(tmp_path, write_picture):
    for split, city in (("train", "ulm"), ("val", "bonn")):
        stem = f"{city}_000000_000019"
        write_picture(tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", PICTURE)
        write_picture(tmp_path / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", BYTE + 26)
        write_picture(tmp_path / "disparity" / split / city / f"{stem}_disparity.png", BYTE.astype(np.uint16) + 257)
    layout = layouts.cityscapes(tmp_path)
    assert counts(layout) == {"train": 1, "test": 1}
    record = layout.splits["train"][0]
    assert (layout.read["segmentation"](record["segmentation"]) == layout.classes.index("car")).all()
    # one pixel of disparity: baseline times focal length
    np.testing.assert_allclose(layout.read["depth"](record["depth"]), 0.209313 * 2262.52, rtol=1e-6)
    with pytest.raises(UsageError, match="holds no images"):
        layouts.cityscapes(tmp_path / "gtFine")


def test_folder(tmp_path, write_picture):
    for split in ("train", "val"):
        write_picture(tmp_path / split / "images" / "a.jpg", PICTURE)
        write_picture(tmp_path / split / "segmentation" / "a.png", BYTE)
    (tmp_path / "classes.txt").write_text("sky\n grass \n\n")
    camera = {"fx": 5, "fy": 5.5, "cx": 2.5, "cy": 1.5, "height": 4, "width": 6}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    layout = layouts.folder(tmp_path)
    assert counts(layout) == {"train": 1, "validation": 1}
    assert layout.classes == ("sky", "grass")
    assert layout.camera[0].fy == 5.5
    assert layout.camera[1] == (4, 6)
    (tmp_path / "camera.json").write_text(json.dumps({**camera, "fx": "wide"}))
    with pytest.raises(UsageError, match=r"camera\.json must hold numbers"):
        layouts.folder(tmp_path)
    with pytest.raises(UsageError, match="images are expected there"):
        layouts.folder(tmp_path / "train" / "images")
