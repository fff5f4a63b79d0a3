"""Tiny archives in every standard format, and real ones where the machine has them."""

import gzip
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without data: no environment, an empty home; returns a folder for archives."""
    monkeypatch.delenv("MENTORCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "archives"
    place.mkdir()
    return place


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def pictures(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def numbers(count: int, classes: int = 10) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.uint8)


@pytest.fixture
def write_idx() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Write an MNIST-like set; returns training images and labels."""

    def write(folder: Path, train: int = 40, test: int = 20, packed: bool = False, labels: list[int] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        first = np.array(labels, dtype=np.uint8) if labels else numbers(train)
        arrays = (pictures(len(first), 28, 28), first, pictures(test, 28, 28, seed=1), numbers(test))
        for name, values in zip(IDX, arrays, strict=True):
            data = idx(values)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
        return arrays[:2]

    return write


def cifar_parts(label_bytes: int, train: int, test: int) -> dict[str, np.ndarray]:
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if label_bytes == 1 else ["train.bin"]
    rows = {}
    for count, group in ((train, names), (test, ["test_batch.bin" if label_bytes == 1 else "test.bin"])):
        labels = numbers(count, 10 if label_bytes == 1 else 100)
        columns = [labels[:, None]] if label_bytes == 1 else [labels[:, None] % 20, labels[:, None]]
        whole = np.concatenate([*columns, pictures(count, 3072, seed=count)], axis=1)
        rows |= dict(zip(group, np.array_split(whole, len(group)), strict=True))
    return rows


@pytest.fixture
def write_cifar() -> Callable[..., np.ndarray]:
    """Write a CIFAR set in binary records, in a folder or as a tarball; returns the training records."""

    def write(folder: Path, label_bytes: int = 1, train: int = 100, test: int = 50, tarball: bool = False):
        kind = "cifar-10-batches-bin" if label_bytes == 1 else "cifar-100-binary"
        (folder / kind).mkdir(parents=True)
        parts = cifar_parts(label_bytes, train, test)
        for name, rows in parts.items():
            rows.tofile(folder / kind / name)
        if tarball:
            packed = folder / ("cifar-10-binary.tar.gz" if label_bytes == 1 else "cifar-100-binary.tar.gz")
            with tarfile.open(packed, "w:gz") as archive:
                archive.add(folder / kind, arcname=kind)
            for file in (folder / kind).iterdir():
                file.unlink()
            (folder / kind).rmdir()
        return np.concatenate([rows for name, rows in parts.items() if not name.startswith("test")])

    return write


@pytest.fixture
def write_svhn() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Write cropped SVHN files; returns training images [32, 32, 3, N] and labels 1..10."""
    from scipy.io import savemat

    def write(folder: Path, train: int = 30, test: int = 20):
        folder.mkdir(parents=True, exist_ok=True)
        kept = []
        for name, count in (("train", train), ("test", test)):
            images, labels = pictures(32, 32, 3, count), numbers(count)[:, None] + 1
            savemat(folder / f"{name}_32x32.mat", {"X": images, "y": labels}, do_compression=True)
            kept += [images, labels[:, 0]]
        return kept[0], kept[1]

    return write


@pytest.fixture
def write_photos() -> Callable[..., None]:
    """Write photographs, one folder per class; the red value is the class number, the green one the position."""
    from PIL import Image

    def write(folder: Path, counts: dict[str, int], size: tuple[int, int] = (24, 16)):
        for number, (label, count) in enumerate(counts.items()):
            (folder / label).mkdir(parents=True)
            for position in range(count):
                Image.new("RGB", size, (number, position, 200)).save(folder / label / f"{position:03}.png")

    return write


@pytest.fixture
def shared_data() -> Path:
    """Folder with sample photographs, from the environment."""
    folder = os.environ.get("MENTORCH_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MENTORCH_SHARED_DATA names no folder of sample photographs")
    return Path(folder)
