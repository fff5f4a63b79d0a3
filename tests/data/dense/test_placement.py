"""What a placement does, however it was drawn; the steps that draw one are tested beside them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data import sample_keys
from mentorch.data.dense import Camera, Flip, Placement, Rotate, Zoom

SIZE = (24, 32)
KEY = sample_keys(0, 0, torch.arange(4))


def planes(camera):
    """Depth and normals of four tilted planes."""
    normals = torch.tensor([[0.3, 0.2, -1.0], [-0.5, 0.1, -1.0], [0.1, -0.6, -1.0], [0.0, 0.9, -0.6]])
    normals = normals / normals.norm(dim=1, keepdim=True)
    facing = -torch.einsum("nc,chw->nhw", normals, camera.rays(SIZE))
    depth = torch.where(facing > 0.05, 2.0 / facing, 0.0)[:, None]
    return depth, normals[:, :, None, None] * (depth > 0)


def degrees(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=1).norm(dim=1), (a * b).sum(1)))


def test_one_reading_of_two_steps_is_two_readings():
    camera = Camera.of(60.0, SIZE)
    depth, normals = planes(camera)
    first, second = Rotate(20.0).place(KEY, SIZE), Zoom(1.1, 1.5).place(KEY + 1, SIZE)
    once = first.then(second).targets({"depth": depth, "normals": normals})
    twice = second.targets(first.targets({"depth": depth, "normals": normals}))
    kept = (once["depth"] > 0) & (twice["depth"] > 0)
    assert kept.float().mean() > 0.5
    torch.testing.assert_close(once["depth"][kept], twice["depth"][kept], rtol=1e-3, atol=0)
    assert degrees(once["normals"], twice["normals"])[kept[:, 0]].max() < 0.1


@given(st.floats(0, 25), st.floats(1.0, 1.4))
def test_a_rotation_with_zoom_and_its_inverse_restore_planes(angle, zoom):
    camera = Camera.of(50.0, SIZE)
    depth, normals = planes(camera)
    there = Rotate(angle).place(KEY, SIZE).then(Zoom(zoom, zoom).place(KEY + 1, SIZE))
    back = there.inverse(SIZE)
    twice = back.targets(there.targets({"depth": depth, "normals": normals}))
    kept = (twice["depth"] > 0) & (depth > 0)
    torch.testing.assert_close(twice["depth"][kept], depth[kept], rtol=1e-3, atol=0)
    kept = kept[:, 0]
    assert degrees(twice["normals"], normals)[kept].max() < 0.1


def test_a_quarter_turn_is_that_of_the_array():
    """Positions and directions turn the same way: right becomes down, clockwise on the screen."""
    labels = torch.arange(81, dtype=torch.uint8).view(1, 9, 9)
    normals = torch.tensor([0.6, 0.0, -0.8]).view(1, 3, 1, 1).expand(1, 3, 9, 9)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    source = torch.eye(3)
    source[:2, :2] = turn.T
    source[:2, 2] = 4 - turn.T @ torch.tensor([4.0, 4.0])
    quarter = Placement(source[None], turn[None], torch.ones(1), (9, 9))
    found = quarter.targets({"segmentation": labels, "normals": normals})
    assert torch.equal(found["segmentation"][0], labels[0].rot90(-1))
    torch.testing.assert_close(found["normals"][0, :, 4, 4], torch.tensor([0.0, 0.6, -0.8]))


def test_unknown_targets_are_refused():
    with pytest.raises(UsageError, match="dept"):
        Flip().place(KEY, SIZE).targets({"dept": torch.ones(4, 1, *SIZE)})
