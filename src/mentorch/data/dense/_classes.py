"""Class names of the data sets of dense prediction, and how their label files number them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mentorch.data.dense._split import IGNORE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CAMVID = (*("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),)

CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
# the numbers of these classes in *_labelIds.png
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

NYU40 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter"),
    *("blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling"),
    *("books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person"),
    *("night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture", "other prop"),
)
NYU13 = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "television"),
    *("wall", "window"),
)
# the class of 13 of each of the 40 classes, counted from 1 (Couprie et al., ICLR 2013, arXiv 1301.3572)
_NYU40_TO_13 = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)


def table(numbers: Sequence[int]) -> "NDArray[np.uint8]":
    """Label in a file -> class, where class i has number ``numbers[i]`` in the files, and all others count nowhere."""
    import numpy as np

    found = np.full(256, IGNORE, dtype=np.uint8)
    found[list(numbers)] = np.arange(len(numbers))
    return found


def nyu_table(classes: int, first: int, *, last: bool = True) -> "NDArray[np.uint8]":
    """Label in a file of the 40 NYUv2 classes -> class of 40 or 13.

    Args:
        classes: 40 or 13.
        first: number of the class "wall" in the files.
        last: whether the last class, "other prop", is to be told from unlabelled pixels.
    """
    import numpy as np

    names = range(40 if last else 39)
    found = np.full(256, IGNORE, dtype=np.uint8)
    for number in names:
        found[first + number] = number if classes == 40 else _NYU40_TO_13[number] - 1
    return found


def cityscapes_table() -> "NDArray[np.uint8]":
    """``*_labelIds.png`` -> the 19 classes that are scored."""
    return table(_CITYSCAPES_IDS)
