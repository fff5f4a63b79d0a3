"""Image files and arrays as images, labels, depth and normals."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch._errors import RunError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUFFIXES = frozenset({".jpg", ".jpeg", ".npy", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def pair(folders: Mapping[str, Path]) -> list[dict[str, Path]]:
    """The files of each image, by kind: those of equal names without their endings, in natural order.

    Raises:
        UsageError: if there is no image, or a kind lacks a file for one.
    """
    found: dict[str, dict[str, Path]] = {}
    for kind, folder in folders.items():
        if not folder.is_dir():
            raise UsageError(f"folder {folder} does not exist: {kind} are expected there")
        found[kind] = {p.stem: p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES}
    if "images" not in found or not found["images"]:
        raise UsageError(f"{folders.get('images', 'the folder')} holds no images")
    names = sorted(found["images"], key=_natural)
    for kind, paths in found.items():
        if lacking := [name for name in names if name not in paths]:
            raise UsageError(f"{folders[kind]} has no file for image {lacking[0]!r} ({len(lacking)} are missing)")
    return [{kind: paths[name] for kind, paths in found.items()} for name in names]


def whole(records: list[dict[str, Path]], place: Path) -> list[dict[str, Path]]:
    """The records, if there are any and all have the same kinds of files.

    Raises:
        UsageError: otherwise, naming the first image that lacks one.
    """
    if not records:
        raise UsageError(f"{place} holds no images")
    kinds = {kind for record in records for kind in record}
    for record in records:
        if lacking := kinds - record.keys():
            raise UsageError(f"{record['images']} has no {', '.join(sorted(lacking))}, other images have")
    return records


def read_image(path: Path) -> "NDArray[np.uint8]":
    """RGB, uint8, shape `[3, H, W]`; arrays `[H, W, 3]` of floating point are in [0, 1]."""
    import numpy as np

    values = _open(path, "RGB")
    values = np.round(255 * values.clip(0, 1)).astype(np.uint8) if values.dtype.kind == "f" else values
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def read_labels(path: Path, *, table: "NDArray[np.uint8] | None" = None) -> "NDArray[np.uint8]":
    """Class numbers, shape `[H, W]`; negative numbers of arrays count nowhere. ``table`` says what numbers mean."""
    import numpy as np

    values = _open(path)
    if values.ndim != 2:
        raise RunError(f"{path} holds {list(values.shape)}, not one label per pixel")
    if values.min() < 0 or values.max() > 255:
        values = np.where((values < 0) | (values > 255), 255, values)
    values = values.astype(np.uint8)
    return values if table is None else table[values]


def read_depth(path: Path) -> "NDArray[np.float32]":
    """Metres, shape `[1, H, W]`: 16-bit files hold millimetres, 8-bit files 1/25.5 m, arrays metres; 0 is unknown."""
    import numpy as np

    values = _plane(path)
    factor = 1.0 if values.dtype.kind == "f" else 1 / 25.5 if values.dtype == np.uint8 else 1e-3
    metres = (values * factor).astype(np.float32)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))


def read_disparity(path: Path, *, factor: float) -> "NDArray[np.float32]":
    """Metres, shape `[1, H, W]`: ``factor`` / d, or 0, from 16-bit files of 256 d + 1; d is the disparity in pixels."""
    import numpy as np

    disparity = (_plane(path).astype(np.float64) - 1) / 256
    known = disparity > 0
    return np.where(known, factor / np.where(known, disparity, 1), 0).astype(np.float32)


def read_normals(path: Path) -> "NDArray[np.float32]":
    """Unit vectors, shape `[3, H, W]`, zero where unknown.

    Pictures hold (n + 1) / 2 and arrays n, in the axes usual for pictures of normals: x right, y up, z to the viewer.
    Vectors whose length is not 1, by a half or more, are unknown, as the grey of 127 or 128 is.
    """
    import numpy as np

    values = _open(path, "RGB")
    vectors = (values if values.dtype.kind == "f" else values / 127.5 - 1).astype(np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = np.abs(length - 1) < 0.5
    unit = np.where(known, vectors / np.where(known, length, 1), 0) * np.array([1, -1, -1], dtype=np.float32)
    return np.ascontiguousarray(unit.transpose(2, 0, 1))


def read_mask(path: Path) -> "NDArray[np.bool_]":
    """Whether a pixel counts, shape `[1, H, W]`: everything but 0."""
    import numpy as np

    return np.asarray(_plane(path), dtype=np.bool_)


def _plane(path: Path) -> "NDArray[Any]":
    """Shape `[1, H, W]`, from `[H, W]` or `[H, W, 1]`."""
    values = _open(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2:
        raise RunError(f"{path} holds {list(values.shape)}, not one value per pixel")
    return values[None]


def _open(path: Path, mode: str | None = None) -> "NDArray[Any]":
    """The values of an array file, or of a picture, converted to ``mode`` unless that is None.

    Raises:
        RunError: naming the file, if it cannot be read.
    """
    import numpy as np
    from PIL import Image

    try:
        if path.suffix.lower() == ".npy":
            return np.array(np.load(path, allow_pickle=False))
        with Image.open(path) as image:
            return np.array(image.convert(mode) if mode else image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RunError(f"{path} is not readable ({error}): repair or remove it") from error


def _natural(name: str) -> tuple[int, int | str, str]:
    return (0, int(name), name) if name.isdecimal() else (1, name, name)
