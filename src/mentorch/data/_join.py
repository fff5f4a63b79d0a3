"""Parts of data sets, and several data sets as one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch.data._dataset import Dataset, Split
from mentorch.data._label_space import LabelSpace


def only(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The images of some classes; labels are counted anew, in the order of ``classes``.

    Raises:
        UsageError: for a class that the data set does not have, or none.
    """
    for name in classes:
        if name not in data.classes:
            raise unknown(f"class of {data.name!r}", name, data.classes)
    if len(set(classes)) < len(classes) or not classes:
        raise UsageError(f"name the classes of {data.name!r} to keep, each once, not {list(classes)}")
    # one's own numbering of a label space of all classes
    space = LabelSpace(data.classes, {"kept": tuple(data.classes.index(name) for name in classes)})

    note = f"{len(classes)} of {len(data.classes)} classes"
    train, validation, test = (_moved(split, space.to_own("kept", split.labels), 0) for split in _splits(data))
    return Dataset.of(
        data.name,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        note="; ".join(filter(None, (data.note, note))),
        mirror=data.mirror,
    )


def join(datasets: Mapping[str, Dataset], space: LabelSpace) -> Dataset:
    """Several data sets as one, with the labels of a joint space.

    Images of classes that are not in the space are left out. An image's ``index`` stays unique.

    Args:
        datasets: part of the space -> its data; class names and their order are the part's own.
        space: see :meth:`LabelSpace.union`.

    Raises:
        UsageError: if images differ in shape, a data set is no part of the space, or nothing is left of all.
    """
    if not datasets:
        raise UsageError("there are no data sets to join")
    shapes = {name: tuple(data.train.images.shape[1:]) for name, data in datasets.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        raise UsageError(f"images of joined data sets need one shape, got {listed}: load folders with one image_size")
    for name, data in datasets.items():
        if name in space.parts and len(data.classes) != len(space.parts[name]):
            raise UsageError(f"{name!r} has {len(data.classes)} classes, {len(space.parts[name])} in the label space")
    parts, start = [], 0
    for name, data in datasets.items():
        parts.append([_moved(split, space.to_joint(name, split.labels), start) for split in _splits(data)])
        start += 1 + max(int(split.index.max()) for split in _splits(data) if len(split))
    train, validation, test = (_concatenated(splits) for splits in zip(*parts, strict=True))
    if not len(train):
        raise UsageError("no training image is left: none is of a class in the label space")
    notes = [f"{name}: {data.note}" for name, data in datasets.items() if data.note]
    return Dataset.of(
        "+".join(dict.fromkeys(data.name for data in datasets.values())),
        train=train,
        validation=validation,
        test=test,
        classes=space.names,
        note="; ".join(notes) or None,
        mirror=all(data.mirror for data in datasets.values()),
    )


def _moved(split: Split, labels: Tensor, start: int) -> Split:
    """A split under other labels and indices, without what has no label there."""
    rows = (labels >= 0).nonzero()[:, 0]
    return Split(split.images, labels, split.index + start).select(rows)


def _splits(data: Dataset) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def _concatenated(splits: Sequence[Split]) -> Split:
    return Split(*(torch.cat([getattr(s, field) for s in splits]) for field in ("images", "labels", "index")))
