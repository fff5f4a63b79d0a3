"""What is known of a data set without reading its images."""

from dataclasses import dataclass
from pathlib import Path

from mentorch.data._find import find, not_found
from mentorch.data._folder import list_folder
from mentorch.data._load import FOLDER_SIZE, TEST_SHARE
from mentorch.data._sources import source_named


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without reading its images.

    Attributes:
        name: the name `load` takes.
        shape: (channels, height, width) of an image.
        classes: class names, in the order of the labels.
        train, test: images in the official splits.
        place: folder it was found in, or None.
        how: where it is or how to get it, in words.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: int
    test: int
    place: Path | None
    how: str


def describe(name: str, *, root: str | Path | None = None) -> Facts:
    """Facts of a data set, from its name and from where its files are; images are not read.

    Raises:
        UsageError: if the name is unknown, or a folder is not one of images.
    """
    if name == "digits":
        test = round(1797 * TEST_SHARE)
        return Facts(name, (1, 8, 8), tuple("0123456789"), 1797 - test, test, None, "comes with scikit-learn")
    if name.startswith("folder:"):
        folder = Path(name.removeprefix("folder:")).expanduser()
        listing = list_folder(folder)
        sizes = {part: len(files) for part, files in listing.splits.items()}
        shape = (3, FOLDER_SIZE, FOLDER_SIZE)
        return Facts(name, shape, listing.classes, sizes["train"], sizes.get("test", 0), folder, f"found in {folder}")
    source, where = source_named(name), Path(root).expanduser() if root else None
    paths = find(source, where)
    place = paths[source.files[0]].parent if paths else None
    how = f"found in {place}" if place else str(not_found(source, where))
    return Facts(source.name, source.shape, source.classes, *source.sizes, place, how)
