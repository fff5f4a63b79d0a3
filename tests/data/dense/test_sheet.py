import numpy as np
import pytest
import torch

from mentorch import UsageError
from mentorch.data.dense import paint, scenes, sheet

DATA = scenes((12, 20), train=1, validation=1, test=2)
GAP, LINE = 4, 16


def drawn(columns, **options) -> np.ndarray:
    return np.asarray(sheet(DATA.test.images, columns, **options))


def tile(picture: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    top, left = LINE + GAP + row * (height + GAP), GAP + column * (width + GAP)
    return picture[top : top + height, left : left + width]


def test_every_tile_is_what_was_said_enlarged_by_a_whole_number():
    near, far = DATA.test.targets["depth"].min().item(), DATA.test.targets["depth"].max().item()
    said = {"segmentation": torch.randn(2, 7, 12, 20), "depth": torch.rand(2, 1, 12, 20) * 5}
    picture = drawn({"target": DATA.test.targets, "student": said}, tile=24, classes=DATA.classes)
    for image in range(2):
        first = tile(picture, 3 * image, 0, 24, 40)
        assert (first[::2, ::2] == DATA.test.images[image].permute(1, 2, 0).numpy()).all()
        for place, task in enumerate(("segmentation", "depth", "normals")):
            for column, own in enumerate((DATA.test.targets, said), start=1):
                found = tile(picture, 3 * image + place, column, 24, 40)
                if task not in own:
                    assert (found == 255).all()  # a gap
                    continue
                wanted = paint(task, own[task], near=near, far=far)[image].permute(1, 2, 0).numpy()
                assert (found[::2, ::2] == wanted).all()
                assert (found[1::2, 1::2] == wanted).all()


def test_the_legend_names_what_there_is():
    depth = {"target": {"depth": DATA.test.targets["depth"]}}
    everything = drawn({"target": DATA.test.targets}, classes=DATA.classes)
    alone = drawn(depth)
    assert everything.shape[0] - 3 * alone.shape[0] != 0
    below = alone[-LINE:]
    assert (below == (253, 231, 37)).all(-1).any()  # the ramp, near
    assert (below == (68, 1, 84)).all(-1).any()  # far
    colours = {tuple(pixel) for row in everything[-6 * LINE :] for pixel in row}
    assert {(128, 0, 0), (0, 128, 128), (224, 224, 192)} <= colours


def test_long_names_do_not_run_into_the_next_column():
    one = drawn({"a": {"depth": DATA.test.targets["depth"]}}, tile=12)
    other = drawn({"a" * 80: {"depth": DATA.test.targets["depth"]}}, tile=12)
    assert one.shape == other.shape
    assert (other[:LINE, -GAP:] == 255).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="needs one of segmentation, depth, normals"):
        drawn({"target": {"flow": torch.zeros(2)}})
    with pytest.raises(UsageError, match=r"student: depth of shape \[2, 1, 6, 6\] beside images \[2, 3, 12, 20\]"):
        drawn({"student": {"depth": torch.ones(2, 1, 6, 6)}})
