"""Photographs in folders, one per class."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mentorch._errors import RunError, UsageError
from mentorch.data._archives import Arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_IMAGES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Listing:
    """Image files of a folder, by split and class.

    Attributes:
        classes: sub-folder names, sorted.
        splits: ``train`` and, where they exist, ``validation`` and ``test`` -> (file, class number), sorted.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]


def list_folder(root: Path) -> Listing:
    """What `ROOT/CLASS/*.jpg`, or `ROOT/train`, `ROOT/validation` (or `val`) and `ROOT/test` with such folders, hold.

    Raises:
        UsageError: if there is no such folder, there are fewer than two classes, a class has no image, or a split has
            other classes than `train`.
    """
    if not root.is_dir():
        raise UsageError(f"folder {root} does not exist")
    parts = {"train": root / "train", "validation": root / "validation", "test": root / "test"}
    if not parts["validation"].is_dir():
        parts["validation"] = root / "val"
    if not parts["train"].is_dir():
        parts = {"train": root}
    found = {name: _images_by_class(path) for name, path in parts.items() if path.is_dir()}
    classes = tuple(found["train"])
    if len(classes) < 2:
        raise UsageError(f"{parts['train']} needs one folder of images per class, at least two; it has {len(classes)}")
    for name, images in found.items():
        if different := sorted(images.keys() ^ set(classes)):
            raise UsageError(f"{parts[name]} and {parts['train']} differ in their classes: {', '.join(different[:5])}")
    splits = {
        name: [(file, number) for number, label in enumerate(classes) for file in images[label]]
        for name, images in found.items()
    }
    return Listing(classes, splits)


def list_images(root: Path) -> list[Path]:
    """All image files of a folder and of the folders in it, sorted.

    Raises:
        UsageError: if there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise UsageError(f"folder {root} does not exist")
    found = sorted(file for file in root.rglob("*") if file.suffix.lower() in _IMAGES and file.is_file())
    if not found:
        raise UsageError(f"{root} holds no image ({', '.join(sorted(_IMAGES))})")
    return found


def read_images(files: list[tuple[Path, int]], size: int) -> Arrays:
    """Decode image files as RGB, shorter side resized to ``size``, centre cropped.

    Raises:
        UsageError: if so many images of that size do not fit into memory.
        RunError: naming the first file that cannot be decoded, or that has 32-bit values.
    """
    import numpy as np
    from PIL import Image

    _check_memory(len(files), size)
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", UserWarning)  # of odd tags beside a picture: it can be decoded or not
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        images = list(pool.map(partial(_read_image, size=size), [file for file, _ in files]))
    return np.stack(images), np.array([number for _, number in files], dtype=np.int64)


def _check_memory(count: int, size: int) -> None:
    """Refuse what would be killed half-way: images are read one by one and then put together."""
    needed, there = 2 * count * 3 * size**2, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UsageError(
            f"{count} images of {size} x {size} need {needed / 2**30:,.0f} GiB of memory, "
            f"this machine has {there / 2**30:,.0f}: choose a smaller image_size"
        )


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            found[path.name] = sorted(file for file in path.iterdir() if file.suffix.lower() in _IMAGES)
            if not found[path.name]:
                raise UsageError(f"{path} holds no image ({', '.join(sorted(_IMAGES))})")
    return found


def _read_image(path: Path, size: int) -> "NDArray[np.uint8]":
    """One image, uint8, shape `[3, size, size]`."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            fitted = ImageOps.fit(_rgb(upright, path), (size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RunError(f"{path} is not a readable image ({error}): repair or remove it") from error
    return np.asarray(fitted).transpose(2, 0, 1)


def _rgb(image: "Image", path: Path) -> "Image":
    """A picture in 8 bits a channel; Pillow would clip what has more of them."""
    import numpy as np
    from PIL.Image import fromarray

    if image.mode.startswith("I;16"):
        return fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise RunError(f"{path} has 32-bit values (mode {image.mode}), of unknown range: save it with 8 or 16 bits")
    # by way of RGBA: palettes with transparency are only well defined there
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
