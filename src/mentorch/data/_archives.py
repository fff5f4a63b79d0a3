"""The standard archive formats read directly: IDX, CIFAR binary, SVHN .mat; plain, .gz or inside a .tar.gz."""

import gzip
import io
import math
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch._errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 1 << 28
"""Bytes that an archive may unpack to."""

# uint8 images [N, C, H, W] and int64 labels [N]
Arrays = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]


def read_members(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """The content of each file of an archive, in the order of ``paths``, which says in which file on disk it is.

    Raises:
        RunError: naming the file on disk, if it is cut off, damaged or unreadable, or lacks the member.
    """
    content: dict[str, bytes] = {}
    for path in dict.fromkeys(paths.values()):
        names = [name for name in paths if paths[name] == path]
        try:
            if path.name.endswith(".tar.gz"):
                content |= _read_tarball(path, set(names))
            else:
                content[names[0]] = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise RunError(f"{path} is cut off or damaged ({error}): get it again") from error
    return {name: content[name] for name in paths}


def read_idx(data: bytes, path: Path) -> "NDArray[np.uint8]":
    """An IDX array of unsigned bytes: magic 0, 0, 8, number of dimensions; big-endian sizes; values.

    Raises:
        RunError: naming ``path``, if the magic or the length is wrong.
    """
    import numpy as np

    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise RunError(f"{path} is not an IDX file of bytes: it begins with {data[:4].hex(' ') or 'nothing'}")
    header = 4 + 4 * data[3]
    shape = tuple(np.frombuffer(data[4:header], dtype=">u4").tolist()) if len(data) >= header else ()
    expected = header + math.prod(shape)
    if len(data) != expected or not shape:
        raise RunError(f"{path} is cut off or damaged: {len(data)} bytes, {expected} expected")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def read_idx_pair(content: Mapping[str, bytes], paths: Mapping[str, Path], images: str, labels: str) -> Arrays:
    """Images and labels from two IDX files.

    Raises:
        RunError: naming the file, if one is damaged or they do not belong together.
    """
    pictures, numbers = (read_idx(content[name], paths[name]) for name in (images, labels))
    if pictures.ndim != 3 or numbers.shape != pictures.shape[:1]:
        raise RunError(f"{paths[images]} {pictures.shape} and {paths[labels]} {numbers.shape} do not belong together")
    return pictures[:, None], numbers.astype("int64")


def read_cifar(data: bytes, path: Path, label_bytes: int) -> Arrays:
    """CIFAR records: ``label_bytes`` labels, of which the last counts, then 3 x 32 x 32 bytes; any whole number.

    Raises:
        RunError: naming ``path``, if there is no record or not a whole number of them.
    """
    import numpy as np

    record = label_bytes + 3 * 32 * 32
    if not data or len(data) % record:
        raise RunError(f"{path} is cut off or damaged: {len(data)} bytes, not a multiple of {record}")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, record)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1].astype(np.int64)


def read_svhn(path: Path) -> Arrays:
    """Cropped SVHN digits: ``X`` [32, 32, 3, N] and ``y`` [N, 1], where 10 stands for the digit 0.

    Raises:
        RunError: naming ``path``, if it cannot be read or has other contents.
    """
    import numpy as np
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "returned data may be corrupt"
            content: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # whatever the reader trips over in a damaged file
        raise RunError(f"{path} is not a whole .mat file with X and y ({error}): get it again") from error
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise RunError(f"{path}: X is {images.dtype} {images.shape}, uint8 (32, 32, 3, {len(labels)}) expected")
    return images.transpose(3, 2, 0, 1), np.where(labels == 10, 0, labels)


def _unpacked(path: Path) -> bytes:
    """The content of a gzip file; a small file may promise any size, and the largest archive here has 185 MB."""
    with gzip.open(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise RunError(f"{path} unpacks to more than {LARGEST >> 20} MiB: it is none of the known archives")
    return data


def _read_tarball(path: Path, names: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    # unpacked whole, because tarfile alone never reads as far as the checksum at the end
    with tarfile.open(fileobj=io.BytesIO(_unpacked(path)), mode="r:") as archive:
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name in names and member.isfile() else None
            if file is not None:
                found[name] = file.read()
    if missing := sorted(names - found.keys()):
        raise RunError(f"{path} holds no {', '.join(missing)}: it is not the binary version, or it is damaged")
    return found
