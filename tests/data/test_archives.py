import gzip
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from mentorch import RunError
from mentorch.data import _archives
from mentorch.data._archives import read_cifar, read_idx, read_idx_pair, read_members, read_svhn


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_idx_is_read_as_it_was_written(tmp_path_factory, shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(read_idx(idx(values), tmp_path_factory.getbasetemp()), values)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 15, 16, 100, 799])
def test_a_cut_idx_file_is_named(tmp_path, length):
    whole = idx(np.zeros((1, 28, 28), dtype=np.uint8))
    with pytest.raises(RunError, match="train-images"):
        read_idx(whole[:length], tmp_path / "train-images")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "not an IDX file of bytes: it begins with 00 00 0d 01"),
        (b"<html>not found</html>", "not an IDX file"),
        (b"", "begins with nothing"),
        (b"\x00\x00\x08\x00", "cut off or damaged: 4 bytes, 5 expected"),
        (idx(np.zeros(3, dtype=np.uint8)) + b"x", "12 bytes, 11 expected"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "expected"),
    ],
)
def test_other_idx_contents_are_refused(tmp_path, data, message):
    with pytest.raises(RunError, match=message):
        read_idx(data, tmp_path / "file")


def test_images_and_labels_must_belong_together(tmp_path):
    paths = {"images": tmp_path / "images", "labels": tmp_path / "labels"}
    content = {"images": idx(np.zeros((3, 28, 28), dtype=np.uint8)), "labels": idx(np.zeros(2, dtype=np.uint8))}
    with pytest.raises(RunError, match="do not belong together"):
        read_idx_pair(content, paths, "images", "labels")
    images, labels = read_idx_pair(content | {"labels": idx(np.array([7, 8, 9], dtype=np.uint8))}, paths, *paths)
    assert images.shape == (3, 1, 28, 28)
    assert labels.tolist() == [7, 8, 9]
    assert labels.dtype == np.int64


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifar_records_hold_labels_then_red_green_blue_rows(tmp_path, label_bytes):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    records = b"".join(bytes([99] * (label_bytes - 1) + [n]) + x.tobytes() for n, x in enumerate(images))
    read, labels = read_cifar(records, tmp_path / "x.bin", label_bytes)
    np.testing.assert_array_equal(read, images)
    assert labels.tolist() == list(range(5))
    assert labels.dtype == np.int64


@pytest.mark.parametrize("length", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_a_cut_cifar_file_is_named(tmp_path, length):
    with pytest.raises(
        RunError, match=rf"data_batch_1.bin is cut off or damaged: {length} bytes, not a multiple of 3073"
    ):
        read_cifar(bytes(length), tmp_path / "data_batch_1.bin", 1)


def test_svhn_calls_the_digit_zero_ten(tmp_path, write_svhn):
    images, labels = write_svhn(tmp_path)
    read, digits = read_svhn(tmp_path / "train_32x32.mat")
    np.testing.assert_array_equal(read, images.transpose(3, 2, 0, 1))
    assert digits.tolist() == [n % 10 for n in labels]
    assert digits.dtype == np.int64


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_cut_mat_file_is_named(tmp_path, write_svhn, share):
    write_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(RunError, match=r"train_32x32\.mat"):
        read_svhn(path)


@given(st.binary(max_size=600), st.booleans())
def test_noise_is_no_mat_file(tmp_path_factory, noise, header):
    path = tmp_path_factory.getbasetemp() / "noise.mat"
    path.write_bytes((b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" if header else b"") + noise)
    with pytest.raises(RunError, match=r"noise\.mat"):
        read_svhn(path)


@pytest.mark.parametrize(
    "content",
    [
        {"X": np.zeros((32, 32, 3, 2), dtype=np.uint8)},
        {"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1))},
        {"X": np.zeros((32, 32, 3, 2), dtype=np.uint8), "y": np.ones((3, 1))},
        {"X": np.zeros((28, 28, 2), dtype=np.uint8), "y": np.ones((2, 1))},
    ],
)
def test_other_mat_contents_are_refused(tmp_path, content):
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(RunError, match=r"x\.mat"):
        read_svhn(tmp_path / "x.mat")


def test_members_are_read_plain_packed_and_from_a_tarball(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"second"))
    (tmp_path / "c").write_bytes(b"third")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "c", arcname="../deep/folder/c")
    paths = {"a": tmp_path / "a", "b": tmp_path / "b.gz", "c": tmp_path / "all.tar.gz"}
    assert read_members(paths) == {"a": b"first", "b": b"second", "c": b"third"}
    assert list(read_members(dict(reversed(paths.items())))) == ["c", "b", "a"]
    assert not (tmp_path.parent / "deep").exists()  # nothing is unpacked


@pytest.mark.parametrize("name", ["labels.gz", "all.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_cut_or_foreign_compressed_files_are_named(tmp_path, name, share):
    path = tmp_path / name
    noise = np.random.default_rng(0).bytes(20_000)
    if name == "labels.gz":
        path.write_bytes(gzip.compress(noise))
    else:
        (tmp_path / "member").write_bytes(noise)
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "member", arcname="member")
    whole = path.read_bytes()
    for damaged in (whole[: int(share * len(whole))], b"<html>", whole[:2000] + bytes(50) + whole[2050:]):
        path.write_bytes(damaged)
        if name == "labels.gz" and not damaged:
            continue  # gzip takes nothing for an empty file; the reader of its content refuses it
        with pytest.raises(RunError, match=name):
            read_members({"member": path})


def test_a_tarball_of_something_else_is_refused(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"pickled")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data_batch_1", arcname="data_batch_1")
    with pytest.raises(RunError, match=r"holds no test_batch\.bin: it is not the binary version"):
        read_members({"test_batch.bin": tmp_path / "cifar-10-binary.tar.gz"})


def test_a_small_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "LARGEST", 1000)
    path = tmp_path / "x.gz"
    for size in (1000, 1001):
        path.write_bytes(gzip.compress(bytes(size)))
        if size == 1000:
            assert read_members({"x": path}) == {"x": bytes(1000)}
        else:
            with pytest.raises(RunError, match=r"x\.gz unpacks to more than"):
                read_members({"x": path})
