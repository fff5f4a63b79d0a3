import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data.dense import Camera, normals_from_depth

SIZE = (24, 32)
ANGLE = st.floats(-0.9, 0.9)


def plane(camera, size, tilt, turn, distance=3.0):
    """Depth and normal of a plane, from its equation n . (z * ray) = d."""
    normal = torch.tensor([math.sin(turn), math.sin(tilt) * math.cos(turn), -math.cos(tilt) * math.cos(turn)])
    normal = normal / normal.norm()
    facing = -(normal[:, None, None] * camera.rays(size)).sum(0)
    depth = torch.where(facing > 0.05, distance / facing, 0.0)
    return depth[None, None], normal


def degrees(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=1).norm(dim=1), (a * b).sum(1)))


@given(ANGLE, ANGLE, st.sampled_from([3, 5, 9]))
def test_normals_of_planes_are_exact(tilt, turn, window):
    camera = Camera.of(60.0, SIZE)
    depth, normal = plane(camera, SIZE, tilt, turn)
    found = normals_from_depth(depth, camera, window=window)
    known = (depth > 0)[:, 0] & (found != 0).any(1)
    assert known.float().mean() > 0.5
    assert degrees(found, normal.view(1, 3, 1, 1).expand_as(found))[known].max() < 0.1


def test_normals_of_a_sphere_are_nearly_those_of_the_sphere():
    size, radius, centre = (96, 96), 1.0, torch.tensor([0.2, -0.1, 3.0])
    camera = Camera.of(60.0, size)
    rays = camera.rays(size).double()
    a, b = rays.square().sum(0), (rays * centre[:, None, None]).sum(0)
    square = b * b - a * (centre.square().sum() - radius**2)
    hit = square > 0
    depth = torch.where(hit, (b - square.clamp(min=0).sqrt()) / a, 0.0)
    truth = (rays * depth - centre[:, None, None]) / radius
    found = normals_from_depth(depth[None, None].float(), camera)
    inside = hit & ((truth * rays).sum(0) / rays.norm(dim=0) < -0.4)  # away from the rim
    assert degrees(found, truth[None].float())[0][inside].max() < 1.5


def test_a_step_between_two_walls_hardly_bends_their_normals():
    camera = Camera.of(60.0, SIZE)
    depth = torch.full((1, 1, *SIZE), 2.0)
    depth[..., 16:] = 4.0
    found = normals_from_depth(depth, camera)
    front = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand_as(found)
    assert degrees(found, front).max() < 0.5


def test_unknown_depth_has_no_normal_and_disturbs_none():
    camera = Camera.of(60.0, SIZE)
    depth, normal = plane(camera, SIZE, 0.4, 0.3)
    holes = depth.clone()
    holes[..., 5:9, 5:9] = 0.0
    holes[..., 12, 12], holes[..., 14, 14] = math.nan, math.inf
    found = normals_from_depth(holes, camera)
    known = holes.isfinite() & (holes > 0)
    assert torch.equal((found != 0).any(1, keepdim=True), known)
    assert degrees(found, normal.view(1, 3, 1, 1).expand_as(found))[known[:, 0]].max() < 0.1


def test_normals_face_the_camera():
    camera = Camera.of(60.0, SIZE)
    depth = 2.0 + torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    found = normals_from_depth(depth, camera)
    assert ((found * camera.rays(SIZE)).sum(1) <= 0).all()


@given(st.floats(0.25, 4), st.floats(0.25, 4), st.integers(0, 9), st.integers(0, 9))
def test_a_resized_and_cropped_camera_sees_the_same_points(factor_y, factor_x, top, left):
    camera = Camera(30.0, 31.0, 15.0, 12.5)
    point = (0.3, -0.2, 1.7)
    column, row = camera.fx * point[0] / point[2] + camera.cx, camera.fy * point[1] / point[2] + camera.cy
    other = camera.resized(factor_y, factor_x).cropped(top, left)
    # the middle of the first pixel is 0, so edges of pixels scale about -0.5
    expected = ((column + 0.5) * factor_x - 0.5 - left, (row + 0.5) * factor_y - 0.5 - top)
    found = other.fx * point[0] / point[2] + other.cx, other.fy * point[1] / point[2] + other.cy
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_field_of_view():
    camera = Camera.of(90.0, (10, 20))
    ray = camera.rays((10, 20))
    # from the outer edge of the first to that of the last pixel
    edges = [(column - camera.cx) / camera.fx for column in (-0.5, 19.5)]
    assert math.degrees(math.atan(edges[1]) - math.atan(edges[0])) == pytest.approx(90.0)
    assert ray.shape == (3, 10, 20)
    assert (ray[2] == 1).all()
    assert ray.mean((1, 2))[:2].abs().max() < 1e-6


def test_wrong_requests_are_refused():
    camera = Camera.of(60.0, SIZE)
    with pytest.raises(UsageError, match=r"needs depth \[N, 1, H, W\], not \[4, 4\]"):
        normals_from_depth(torch.ones(4, 4), camera)
    with pytest.raises(UsageError, match="window must be odd and at least 3, not 4"):
        normals_from_depth(torch.ones(1, 1, 4, 4), camera, window=4)
