"""How the known data sets lie on disk: which files belong together, and what their numbers mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch._errors import UsageError
from mentorch._files import read_json
from mentorch.data.dense import _classes as names
from mentorch.data.dense import _files as files
from mentorch.data.dense._camera import Camera

if TYPE_CHECKING:
    from numpy.typing import NDArray

Record = Mapping[str, Path]
Read = Callable[[Path], "NDArray[Any]"]


@dataclass(frozen=True)
class Layout:
    """A data set on disk.

    Attributes:
        splits: ``train`` and, where they exist, ``validation`` and ``test`` -> files of each image, by kind of target.
        read: how a file of a kind becomes an array.
        classes: of the segmentation.
        camera: and the (height, width) that it is for; None where it is not known.
        note: what to say beside numbers measured on it.
    """

    splits: Mapping[str, Sequence[Record]]
    read: Mapping[str, Read]
    classes: tuple[str, ...]
    camera: tuple[Camera, tuple[int, int]] | None = None
    note: str | None = None


# of the colour camera for 640 x 480, in the toolbox of NYUv2 (camera_params.m), which counts pixels from 1
_KINECT = Camera(518.85790117, 519.46961112, 324.58244941, 252.73616634)
# metres times pixels: what Cityscapes' camera files say of nearly all images, and the size they are for
_CITY_BASELINE, _CITY_CAMERA, _CITY_SIZE = 0.209313, Camera(2262.52, 2265.3017905988554, 1096.98, 513.137), (1024, 2048)


def camvid(root: Path) -> Layout:
    """``train``, ``trainannot``, ``val``, ``valannot``, ``test``, ``testannot`` of the SegNet authors; 11 is void."""
    splits = {
        split: files.pair({"images": root / folder, "segmentation": root / f"{folder}annot"})
        for split, folder in {"train": "train", "validation": "val", "test": "test"}.items()
    }
    read: dict[str, Read] = {
        "images": files.read_image,
        "segmentation": partial(files.read_labels, table=names.table(range(11))),
    }
    return Layout(splits, read, names.CAMVID)


def nyuv2(root: Path, classes: int) -> Layout:
    """Pictures beside label files, whole or in splits.

    ``images``, ``depth`` and one of ``labels40`` (the class less one; 39 is "other prop" or unlabelled, and counts
    nowhere), ``seg40`` (the class; 0 is unlabelled) and ``seg13`` (the same of 13), and ``normals`` where they exist;
    below ROOT, or ROOT/train and ROOT/test (or val). ``image``, ``label`` and ``normal`` are understood as well, the
    second for .npy files of 13 classes with -1 for unlabelled pixels.
    """
    if classes not in (13, 40):
        raise UsageError(f"NYUv2 has 13 or 40 classes, not {classes}")
    splits: dict[str, list[dict[str, Path]]] = {}
    kind = ""
    for split, folder in _folders(root, val="test").items():
        folders = {"images": _first(folder, "images", "image"), "depth": _first(folder, "depth")}
        labels = _first(folder, "labels40", "seg40", *(("seg13", "label") if classes == 13 else ()))
        normals = _first(folder, "normals", "normal")
        found = {**folders, "segmentation": labels, "normals": normals}
        splits[split] = files.pair({name: path for name, path in found.items() if path is not None})
        kind = labels.name if labels else kind
    tables = {
        "labels40": partial(names.nyu_table, classes, 0, last=False),
        "seg40": partial(names.nyu_table, classes, 1),
        "seg13": partial(names.table, range(1, 14)),
        "label": partial(names.table, range(13)),
    }
    read: dict[str, Read] = {"images": files.read_image, "depth": files.read_depth, "normals": files.read_normals}
    if kind:
        read["segmentation"] = partial(files.read_labels, table=tables[kind]())
    note = f"{sum(map(len, splits.values()))} of 1449 images" if sum(map(len, splits.values())) != 1449 else None
    return Layout(splits, read, names.NYU13 if classes == 13 else names.NYU40, (_KINECT, (480, 640)), note)


def cityscapes(root: Path) -> Layout:
    """``leftImg8bit``, ``gtFine`` and, for depth, ``disparity``; the public test split has no labels.

    Depth is baseline times focal length over disparity, which the files hold as 256 times itself plus one.
    """
    splits: dict[str, list[dict[str, Path]]] = {}
    for split, folder in {"train": "train", "test": "val"}.items():
        records: list[dict[str, Path]] = []
        for image in sorted((root / "leftImg8bit" / folder).glob("*/*_leftImg8bit.png")):
            stem, city = image.name.removesuffix("_leftImg8bit.png"), image.parent.name
            beside = {
                "segmentation": root / "gtFine" / folder / city / f"{stem}_gtFine_labelIds.png",
                "depth": root / "disparity" / folder / city / f"{stem}_disparity.png",
            }
            records.append({"images": image, **{kind: path for kind, path in beside.items() if path.is_file()}})
        splits[split] = files.whole(records, root / "leftImg8bit" / folder)
    read: dict[str, Read] = {
        "images": files.read_image,
        "segmentation": partial(files.read_labels, table=names.cityscapes_table()),
        "depth": partial(files.read_disparity, factor=_CITY_BASELINE * _CITY_CAMERA.fx),
    }
    note = "the public validation split is the test split, as the official one has no labels"
    return Layout(splits, read, names.CITYSCAPES, (_CITY_CAMERA, _CITY_SIZE), note)


def folder(root: Path) -> Layout:
    """``images`` and any of ``segmentation``, ``depth``, ``normals``, ``mask``, files of one image under one name.

    Below ROOT, or ROOT/train, ROOT/validation (or val) and ROOT/test. ``classes.txt`` names the classes, one per line;
    ``camera.json`` holds ``fx``, ``fy``, ``cx``, ``cy``, ``height`` and ``width``.
    """
    kinds = ("images", "segmentation", "depth", "normals", "mask")
    splits = {
        split: files.pair({kind: place / kind for kind in kinds if kind == "images" or (place / kind).is_dir()})
        for split, place in _folders(root, val="validation").items()
    }
    listing = root / "classes.txt"
    classes = tuple(listing.read_text("utf-8").split("\n")) if listing.is_file() else ()
    read: dict[str, Read] = {
        "images": files.read_image,
        "segmentation": files.read_labels,
        "depth": files.read_depth,
        "normals": files.read_normals,
        "mask": files.read_mask,
    }
    return Layout(splits, read, tuple(c.strip() for c in classes if c.strip()), _camera(root / "camera.json"))


def _camera(path: Path) -> tuple[Camera, tuple[int, int]] | None:
    if not path.is_file():
        return None
    facts = read_json(path)
    try:
        fx, fy, cx, cy, height, width = (float(facts[key]) for key in ("fx", "fy", "cx", "cy", "height", "width"))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} must hold numbers fx, fy, cx, cy, height and width: {error} is wrong") from error
    return Camera(fx, fy, cx, cy), (int(height), int(width))


def _folders(root: Path, *, val: str) -> dict[str, Path]:
    """The folder of each split that exists, ROOT/val as that of ``val``; ROOT itself where there are none."""
    choices = [(val, "val"), *((name, name) for name in ("train", "validation", "test"))]
    found = {split: root / name for split, name in choices if (root / name).is_dir()}
    return {name: found[name] for name in ("train", "validation", "test") if name in found} or {"train": root}


def _first(folder: Path, *choices: str) -> Path | None:
    return next((folder / name for name in choices if (folder / name).is_dir()), None)
