import numpy as np
import pytest

from mentorch import RunError, UsageError
from mentorch.data.dense import _files as files

RANDOM = np.random.default_rng(0)


def test_images_are_rgb_bytes_channels_first(tmp_path, write_picture):
    values = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(files.read_image(write_picture(tmp_path / "a.png", values)), values.transpose(2, 0, 1))
    grey = files.read_image(write_picture(tmp_path / "b.png", values[:, :, 0]))
    assert np.array_equal(grey, np.stack([values[:, :, 0]] * 3))
    share = files.read_image(write_picture(tmp_path / "c.npy", values / 255))
    assert np.array_equal(share, values.transpose(2, 0, 1))


def test_labels_are_numbers_through_a_table(tmp_path, write_picture):
    values = np.array([[0, 7, 255]], dtype=np.uint8)
    path = write_picture(tmp_path / "a.png", values)
    assert files.read_labels(path).tolist() == [[0, 7, 255]]
    table = np.full(256, 255, dtype=np.uint8)
    table[7] = 3
    assert files.read_labels(path, table=table).tolist() == [[255, 3, 255]]
    negative = write_picture(tmp_path / "b.npy", np.array([[-1.0, 4.0]]))
    assert files.read_labels(negative).tolist() == [[255, 4]]
    with pytest.raises(RunError, match="not one label per pixel"):
        files.read_labels(write_picture(tmp_path / "c.png", np.zeros((2, 2, 3), dtype=np.uint8)))


def test_palettes_are_read_as_numbers(tmp_path):
    from PIL import Image

    image = Image.fromarray(np.array([[0, 2]], dtype=np.uint8))
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "a.png")
    assert files.read_labels(tmp_path / "a.png").tolist() == [[0, 2]]


def test_depth_is_metres_whatever_the_file(tmp_path, write_picture):
    millimetres = write_picture(tmp_path / "a.png", np.array([[0, 1500]], dtype=np.uint16))
    assert files.read_depth(millimetres).tolist() == [[[0.0, 1.5]]]
    steps = write_picture(tmp_path / "b.png", np.array([[0, 51]], dtype=np.uint8))
    assert files.read_depth(steps)[0].tolist() == [[0.0, 2.0]]
    metres = write_picture(tmp_path / "c.npy", np.array([[np.nan, -1.0, 2.5]])[..., None])
    assert files.read_depth(metres).tolist() == [[[0.0, 0.0, 2.5]]]
    assert files.read_depth(metres).dtype == np.float32


def test_disparity_becomes_depth(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", np.array([[0, 1, 257, 513]], dtype=np.uint16))
    found = files.read_disparity(path, factor=10.0)
    assert found.tolist() == [[[0.0, 0.0, 10.0, 5.0]]]
    assert found.dtype == np.float32


def test_normals_come_in_the_axes_of_the_camera(tmp_path, write_picture):
    up = np.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 2.4], [0.0, 0.0, 0.0]]])  # up, length 2.4, unknown
    found = files.read_normals(write_picture(tmp_path / "a.npy", up))
    assert found[:, 0].T.tolist() == [[0, -1, 0], [0, 0, 0], [0, 0, 0]]
    picture = np.array([[[128, 128, 255], [255, 128, 128], [127, 128, 127]]], dtype=np.uint8)
    found = files.read_normals(write_picture(tmp_path / "b.png", picture))[:, 0].T
    np.testing.assert_allclose(found, [[0, 0, -1], [1, 0, 0], [0, 0, 0]], atol=6e-3)
    np.testing.assert_allclose(np.linalg.norm(found[:2], axis=1), 1, atol=1e-6)
    assert found.dtype == np.float32


def test_masks_are_all_but_zero(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", np.array([[0, 1, 255]], dtype=np.uint8))
    assert files.read_mask(path).tolist() == [[[False, True, True]]]


def test_damaged_files_are_named(tmp_path):
    for name in ("a.png", "b.npy"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(RunError, match=f"{name} is not readable"):
            files.read_image(tmp_path / name)
    np.save(tmp_path / "c.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(RunError, match="not readable"):
        files.read_depth(tmp_path / "c.npy")


def test_files_of_one_name_belong_together_in_natural_order(tmp_path, write_picture):
    one = np.zeros((1, 1), dtype=np.uint8)
    for name in ("10", "9", "x"):
        write_picture(tmp_path / "images" / f"{name}.jpg", one)
        write_picture(tmp_path / "depth" / f"{name}.png", one)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    found = files.pair({"images": tmp_path / "images", "depth": tmp_path / "depth"})
    assert [record["images"].name for record in found] == ["9.jpg", "10.jpg", "x.jpg"]
    assert [record["depth"].name for record in found] == ["9.png", "10.png", "x.png"]
    (tmp_path / "depth" / "9.png").unlink()
    with pytest.raises(UsageError, match=r"depth has no file for image '9' \(1 are missing\)"):
        files.pair({"images": tmp_path / "images", "depth": tmp_path / "depth"})
    with pytest.raises(UsageError, match="does not exist"):
        files.pair({"images": tmp_path / "pictures"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        files.pair({"images": tmp_path / "empty"})


def test_records_must_be_alike(tmp_path):
    records = [{"images": tmp_path / "a.png", "depth": tmp_path / "b.png"}, {"images": tmp_path / "c.png"}]
    with pytest.raises(UsageError, match=r"c\.png has no depth, other images have"):
        files.whole(records, tmp_path)
    with pytest.raises(UsageError, match="holds no images"):
        files.whole([], tmp_path)
