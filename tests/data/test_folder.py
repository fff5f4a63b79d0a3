import numpy as np
import pytest
from PIL import Image

from mentorch import RunError, UsageError
from mentorch.data._folder import list_folder, read_images

COUNTS = {"cat": 5, "ant": 3, "bee": 4}


def test_one_folder_per_class(tmp_path, write_photos):
    write_photos(tmp_path, COUNTS)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("not a class")
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    listing = list_folder(tmp_path)
    assert listing.classes == ("ant", "bee", "cat")
    assert list(listing.splits) == ["train"]
    assert [number for _, number in listing.splits["train"]] == [0] * 3 + [1] * 4 + [2] * 5
    assert [file.name for file, number in listing.splits["train"] if number == 0] == ["000.png", "001.png", "002.png"]


@pytest.mark.parametrize("held", ["validation", "val"])
def test_one_folder_per_split(tmp_path, write_photos, held):
    for split in ("train", held, "test"):
        write_photos(tmp_path / split, COUNTS)
    assert {name: len(files) for name, files in list_folder(tmp_path).splits.items()} == {
        "train": 12,
        "validation": 12,
        "test": 12,
    }


def test_images_are_resized_by_the_shorter_side_and_cropped_in_the_centre(tmp_path):
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, :20, 0] = wide[:, 20:40, 1] = wide[:, 40:, 2] = 255  # red, green, blue thirds
    for name, pixels in (("wide", wide), ("tall", wide.transpose(1, 0, 2))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = [(tmp_path / "wide.png", 0), (tmp_path / "tall.png", 1)]
    images, labels = read_images(files, 10)
    assert images.shape == (2, 3, 10, 10)
    assert images.dtype == np.uint8
    assert labels.tolist() == [0, 1]
    inside = images[:, :, 1:-1, 1:-1]  # interpolation mixes the outermost pixels with their neighbours
    assert (inside[:, 1] == 255).all()  # the green third is what is left
    assert (inside[:, [0, 2]] == 0).all()
    np.testing.assert_array_equal(read_images(files, 20)[0][0], wide[:, 20:40].transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    grey = Image.new("L", (8, 8), 255)
    picture = Image.fromarray(np.full((8, 8), 65535, dtype=np.uint16)) if mode == "I;16" else grey.convert(mode)
    picture.save(path, **({"transparency": bytes(range(256))} if mode == "P" else {}))
    images, _ = read_images([(path, 0)], 8)
    assert (images == 255).all()


@pytest.mark.parametrize(("name", "order"), [("a.png", "<"), ("a.tif", "<"), ("a.tif", ">")])
def test_sixteen_bits_become_eight(tmp_path, name, order):
    grey = np.arange(64).reshape(8, 8) * 1000
    picture = Image.frombytes("I;16B" if order == ">" else "I;16", (8, 8), grey.astype(f"{order}u2").tobytes())
    picture.save(tmp_path / name)
    images, _ = read_images([(tmp_path / name, 0)], 8)
    np.testing.assert_array_equal(images[0], np.broadcast_to(grey // 256, (3, 8, 8)))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_of_unknown_range_are_refused(tmp_path, kind):
    Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / "depth.tif")
    with pytest.raises(RunError, match=r"depth.tif has 32-bit values .* save it with 8 or 16 bits"):
        read_images([(tmp_path / "depth.tif", 0)], 8)


def test_images_that_cannot_fit_into_memory_are_refused_before_they_are_read(tmp_path):
    with pytest.raises(UsageError, match=r"^20 images of 1000000 x 1000000 need [\d,]+ GiB of memory, .* image_size"):
        read_images([(tmp_path / "missing.png", 0)] * 20, 1_000_000)


def test_photographs_are_turned_upright(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    image = read_images([(tmp_path / "x.png", 0)], 8)[0][0]
    assert (image[:, :4] == 0).all()
    assert (image[:, 4:] == 255).all()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"noise" * 50])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_a_damaged_image_is_named(tmp_path, kind, damage):
    path = tmp_path / f"broken.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=f"broken.{kind} is not a readable image"):
        read_images([(path, 0)], 8)


def test_other_folders_are_refused(tmp_path, write_photos):
    with pytest.raises(UsageError, match="nowhere does not exist"):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="at least two; it has 0"):
        list_folder(tmp_path)
    write_photos(tmp_path / "one", {"ant": 2})
    with pytest.raises(UsageError, match="at least two; it has 1"):
        list_folder(tmp_path / "one")
    write_photos(tmp_path / "hole", {"ant": 2, "bee": 0})
    with pytest.raises(UsageError, match="bee holds no image"):
        list_folder(tmp_path / "hole")
    write_photos(tmp_path / "odd" / "train", COUNTS)
    write_photos(tmp_path / "odd" / "test", {"ant": 1, "bee": 1, "dog": 1})
    with pytest.raises(UsageError, match="differ in their classes: cat, dog"):
        list_folder(tmp_path / "odd")
