import math

import pytest
import torch

from mentorch.data.dense._scene import BALL, BOX, CONE, CYLINDER
from mentorch.data.dense._shapes import local_normal, meet

SHAPES = {"ball": BALL, "box": BOX, "cylinder": CYLINDER, "cone": CONE}


def inside(shape, p):
    x, y, z = p.unbind(-2)
    ring = (x * x + z * z).sqrt()
    level = y.abs() <= 1
    return {
        BALL: p.norm(dim=-2) <= 1,
        BOX: p.abs().amax(-2) <= 1,
        CYLINDER: level & (ring <= 1),
        CONE: level & (ring <= (y + 1) / 2),
    }[shape]


def rays(count=400):
    generator = torch.Generator().manual_seed(0)
    start = torch.nn.functional.normalize(torch.randn(3, count, generator=generator, dtype=torch.float64), dim=0) * 4
    aim = (torch.rand(3, count, generator=generator, dtype=torch.float64) * 2 - 1) * 1.2
    return start, aim - start


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_distance_is_that_of_marching_in_small_steps(shape):
    start, along = rays()
    steps = torch.linspace(0, 2, 8001, dtype=torch.float64)
    hits = inside(shape, start[None] + steps[:, None, None] * along[None])
    marched = torch.where(hits.any(0), steps[hits.int().argmax(0)], math.inf)
    found = meet(shape, start, along)
    assert 0.2 < found.isfinite().double().mean() < 0.95
    agree = (found - marched).abs() < 3e-4
    grazing = found.isinf() != marched.isinf()  # thinner than a step, or at its end
    assert (agree | found.isinf() & marched.isinf() | grazing).all()
    assert grazing.double().mean() < 0.02


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_normals_point_outward_and_stand_on_the_surface(shape):
    start, along = rays()
    distance = meet(shape, start, along)
    kept = distance.isfinite()
    point = (start + distance.nan_to_num(0, 0, 0) * along)[:, kept]
    normal = local_normal(point[None], torch.full((1, point.shape[1]), shape))[0]
    normal = normal / normal.norm(dim=0)
    assert ((normal * along[:, kept]).sum(0) <= 1e-9).all()
    outer, inner = point + 1e-3 * normal, point - 1e-3 * normal
    off_edge = inside(shape, inner) & ~inside(shape, outer)
    assert off_edge.double().mean() > 0.98
    # along the surface nothing is gained: a tangent step stays within its square
    tangent = torch.linalg.cross(
        normal, torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)[:, None].expand_as(normal), dim=0
    )
    beside = point + 1e-3 * tangent
    assert (inside(shape, beside - 1e-5 * normal) & ~inside(shape, beside + 1e-5 * normal)).double().mean() > 0.98


def test_a_ray_that_starts_on_a_shape_does_not_meet_it_there():
    start, along = torch.tensor([[0.0], [-1.0], [0.0]]), torch.tensor([[0.0], [-1.0], [0.1]])
    for shape in SHAPES.values():
        assert meet(shape, start, along).isinf().all()
