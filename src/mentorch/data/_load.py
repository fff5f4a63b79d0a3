"""Data sets by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mentorch._errors import RunError, UsageError
from mentorch.data._archives import Arrays
from mentorch.data._dataset import Dataset, Split
from mentorch.data._fetch import fetch
from mentorch.data._find import find, not_found
from mentorch.data._folder import list_folder, list_images, read_images
from mentorch.data._numbers import whole
from mentorch.data._sources import Source, source_named
from mentorch.data._splits import hold_out, part_size, subset

# digits and folders have no official test split: this share is held out, always the same
TEST_SHARE = 0.2
_TEST_SEED = 0
FOLDER_SIZE = 64


@dataclass(frozen=True)
class _Official:
    """A data set as it is distributed, before validation is drawn."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mirror: bool
    validation: Split | None = None
    note: str | None = None


def load(
    name: str,
    *,
    root: str | Path | None = None,
    validation: float | int = 0.1,
    split_seed: int = 0,
    train_size: int | None = None,
    download: bool = False,
    image_size: int | None = None,
) -> Dataset:
    """Load a data set, with fixed training, validation and test splits.

    The official test split is the test split. Validation is drawn from the official training split once, stratified
    by class, as a function of ``split_seed`` only; a folder that has a validation split keeps it instead. `digits` and
    folders without a test split get one: a fifth of the images, stratified, the same for every seed. `digits` has its
    values 0..16 scaled to ``round(value * 255 / 16)``.

    Args:
        name: one of `names()`, or ``folder:PATH`` with one folder of images per class, in PATH or in PATH/train,
            PATH/validation (or val) and PATH/test.
        root: where to look first; then the folders of `$MENTORCH_DATA`, system folders, ``~/.cache/mentorch``.
        validation: fraction or number of images.
        split_seed: of the validation split and of ``train_size``.
        train_size: keep a stratified part of what validation leaves; a smaller one is contained in a larger one.
        download: fetch archives that are not found.
        image_size: of a folder's images after resizing the shorter side and cropping the centre, 64 unless given.

    Returns:
        The data set, on the CPU; its ``note`` says what to know when its numbers are read.

    Raises:
        UsageError: if the name is unknown, nothing is found, or a size is impossible.
        RunError: if an archive is damaged, or a download fails.
    """
    whole("split_seed", split_seed)
    official = _official(name, Path(root).expanduser() if root else None, download, image_size)
    train, held = official.train, official.validation
    if held is None:
        size = part_size("validation", validation, len(train))
        kept, out = hold_out(train.labels, size, split_seed)
        train, held = train.select(kept), train.select(out)
    return Dataset.of(
        official.name,
        train=train.select(subset(train.labels, train_size, split_seed)) if train_size is not None else train,
        validation=held,
        test=official.test,
        classes=official.classes,
        note=official.note,
        mirror=official.mirror,
    )


def unlabelled(path: str | Path, *, image_size: int | None = None, train_size: int | None = None) -> Dataset:
    """Photographs that nobody labelled, to learn from a teacher: all images below a folder.

    Args:
        path: a folder; how its images are sorted into others does not matter.
        image_size: see `load`.
        train_size: keep so many, always the same ones; a smaller choice is contained in a larger one.

    Returns:
        A data set without classes: all images are in its training split, with labels that mean nothing; validation and
        test are empty.

    Raises:
        UsageError: if there is no such folder or image, or a size is impossible.
        RunError: naming the first file that cannot be decoded.
    """
    root, size = Path(path).expanduser(), FOLDER_SIZE if image_size is None else image_size
    _check_size(size)
    whole = _split(read_images([(file, 0) for file in list_images(root)], size))
    train = whole if train_size is None else whole.select(subset(whole.labels, train_size, 0))
    none = whole.select(torch.arange(0))
    note = f"{len(train)} images without labels"
    return Dataset.of(f"images:{path}", train=train, validation=none, test=none, classes=(), note=note)


def _official(name: str, root: Path | None, download: bool, image_size: int | None) -> _Official:
    if name.startswith("folder:"):
        return _read_folder(
            Path(name.removeprefix("folder:")).expanduser(), FOLDER_SIZE if image_size is None else image_size
        )
    if image_size is not None:
        raise UsageError(f"image_size is for folder:PATH; the images of {name!r} have their own size")
    return _read_digits() if name == "digits" else _read_source(source_named(name), root, download)


def _read_source(source: Source, root: Path | None, download: bool) -> _Official:
    paths = find(source, root)
    if paths is None and download:
        paths = find(source, fetch(source.name, root).parent)
    if paths is None:
        raise not_found(source, root)
    parts = source.read(paths)
    place = next(iter(paths.values())).parent
    for images, labels in parts:
        if images.shape[1:] != source.shape:
            raise RunError(f"{place}: images are {images.shape[1:]}, those of {source.name!r} {source.shape}")
        if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < len(source.classes):
            raise RunError(f"{place}: a label lies outside 0..{len(source.classes) - 1}, the file is damaged")
    train, test = (_split(part) for part in parts)
    return _Official(
        source.name, train, test, source.classes, source.mirror, note=_size_note(source, (len(train), len(test)))
    )


def _read_digits() -> _Official:
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = _without_test(_split((images, bunch.target.astype(np.int64))))
    return _Official("digits", train, test, tuple("0123456789"), mirror=False)


def _read_folder(root: Path, size: int) -> _Official:
    _check_size(size)
    listing = list_folder(root)
    parts = {name: _split(read_images(files, size)) for name, files in listing.splits.items()}
    notes = ["validation is the folder's own"] if "validation" in parts else []
    if "test" in parts:
        train, test = parts["train"], parts["test"]
    else:
        train, test = _without_test(parts["train"])
        notes.append(f"no test folder: {len(test)} of {len(train) + len(test)} images held out as test split")
    note = "; ".join(notes) or None
    return _Official(
        f"folder:{root}", train, test, listing.classes, mirror=True, validation=parts.get("validation"), note=note
    )


def _check_size(size: int) -> None:
    whole("image_size", size, least=1)


def _without_test(split: Split) -> tuple[Split, Split]:
    """Training and test split, each with rows of its own, where there is no official test split."""
    parts = hold_out(split.labels, round(TEST_SHARE * len(split)), _TEST_SEED)
    train, test = (replace(split.select(rows), index=torch.arange(len(rows))) for rows in parts)
    return train, test


def _split(arrays: Arrays) -> Split:
    import numpy as np

    images, labels = (torch.from_numpy(np.array(values)) for values in arrays)
    return Split(images, labels, torch.arange(len(labels)))


def _size_note(source: Source, sizes: Sequence[int]) -> str | None:
    parts = [
        f"{size} of {full} {which} records"
        for which, size, full in zip(("training", "test"), sizes, source.sizes, strict=True)
        if size != full
    ]
    if not parts:
        return None
    return f"{' and '.join(parts)}; the official split is not kept: numbers are not comparable with published ones"
