import pytest
import torch

from mentorch import UsageError
from mentorch.data import sample_keys
from mentorch.data.dense import Camera, normals_from_depth, render
from mentorch.data.dense._render import FIELD
from mentorch.data.dense._scene import CLASSES, draw_scene

KEY = sample_keys(0, 0, torch.arange(12))
SIZE = (48, 64)
CAMERA = Camera.of(FIELD, SIZE)


@pytest.fixture(scope="module")
def pictures():
    return render(KEY, SIZE)


def test_shapes_types_and_ranges(pictures):
    images, targets = pictures
    assert images.shape == (12, 3, *SIZE)
    assert images.dtype == torch.uint8
    assert targets["segmentation"].shape == (12, *SIZE)
    assert targets["segmentation"].dtype == torch.uint8
    assert targets["depth"].shape == (12, 1, *SIZE)
    assert (targets["depth"].isfinite() & (targets["depth"] > 0.3) & (targets["depth"] < 12)).all()
    torch.testing.assert_close(targets["normals"].norm(dim=1), torch.ones(12, *SIZE))
    assert ((targets["normals"] * CAMERA.rays(SIZE)).sum(1) < 1e-4).all()
    counts = targets["segmentation"].flatten().long().bincount(minlength=len(CLASSES))
    assert (counts > 0).all()
    assert images.float().std() > 30


def test_normals_are_those_of_the_depth_map(pictures):
    _, targets = pictures
    derived = normals_from_depth(targets["depth"], CAMERA)
    angle = torch.rad2deg((derived * targets["normals"]).sum(1).clamp(-1, 1).acos())
    # away from where surfaces meet: no neighbour has another class, or turns by more than 30 degrees
    labels = targets["segmentation"].float()[:, None]
    spread = torch.nn.functional.max_pool2d(labels, 3, 1, 1) + torch.nn.functional.max_pool2d(-labels, 3, 1, 1)
    padded = torch.nn.functional.pad(targets["normals"], (1, 1, 1, 1), mode="replicate")
    alike = torch.stack(
        [
            (padded[:, :, i : i + SIZE[0], j : j + SIZE[1]] * targets["normals"]).sum(1)
            for i in range(3)
            for j in range(3)
        ]
    ).amin(0)
    smooth = (spread[:, 0] == 0) & (alike > 0.866)
    assert smooth.float().mean() > 0.7
    assert angle[smooth].median() < 0.1
    assert (angle[smooth] < 3).float().mean() > 0.95


def test_depth_and_class_are_found_again_in_the_scene(pictures):
    """Every pixel of the room lies on its wall, floor or ceiling, by the scene's own numbers."""
    _, targets = pictures
    scene = draw_scene(KEY, 2)
    points = (CAMERA.rays(SIZE) * targets["depth"]).flatten(2)
    world = scene.look @ points + scene.eye[:, :, None]
    ratio = world / scene.room[:, :, None]
    labels = targets["segmentation"].flatten(1)
    assert (ratio.abs() < 1 + 1e-4).all()
    assert ((ratio[:, 1] - 1).abs()[labels == CLASSES.index("floor")] < 1e-4).all()
    assert ((ratio[:, 1] + 1).abs()[labels == CLASSES.index("ceiling")] < 1e-4).all()
    side = torch.maximum(ratio[:, 0].abs(), ratio[:, 2].abs())
    assert ((side - 1).abs()[labels == CLASSES.index("wall")] < 1e-4).all()
    balls = labels == CLASSES.index("ball")
    away = (world[:, None] - scene.centre[:, :2, :, None]).norm(dim=2) / scene.half[:, :2, :1]
    assert ((away - 1).abs().amin(1)[balls] < 1e-3).all()


def test_nothing_is_nearer_than_what_is_seen(pictures):
    """Occlusion: marching towards the seen point, no ball that is there is met earlier."""
    _, targets = pictures
    scene = draw_scene(KEY, 2)
    rays = scene.look @ CAMERA.rays(SIZE).flatten(1)
    depth = targets["depth"].flatten(2)
    for share in torch.linspace(0.05, 0.995, 40).tolist():
        world = rays * depth * share + scene.eye[:, :, None]
        away = (world[:, None] - scene.centre[:, :2, :, None]).norm(dim=2) / scene.half[:, :2, :1]
        assert (away[scene.present[:, :2]] > 0.999).all()


def test_a_picture_depends_on_its_key_alone(pictures):
    images, targets = pictures
    alone, own = render(KEY[5:6], SIZE)
    assert torch.equal(alone[0], images[5])
    assert all(torch.equal(own[name][0], targets[name][5]) for name in own)
    assert not torch.equal(render(KEY[:1] + 1, SIZE)[0][0], images[0])


def test_targets_do_not_depend_on_the_rays_per_pixel(pictures):
    _, targets = pictures
    images, same = render(KEY, SIZE, samples=1)
    assert all(torch.equal(same[name], targets[name]) for name in targets)
    assert (images.float() - pictures[0].float()).abs().mean() < 12


def test_more_pixels_show_the_same_scene(pictures):
    _, targets = pictures
    camera = CAMERA.resized(3, 3)  # odd: every third pixel has the same middle
    _, fine = render(KEY[:2], (144, 192), camera=camera, samples=1)
    torch.testing.assert_close(fine["depth"][:, :, 1::3, 1::3], targets["depth"][:2], rtol=1e-4, atol=1e-4)


def test_it_runs_where_the_keys_are_without_waiting():
    """A device without values: every tensor must be made there, and no value may be read."""
    images, targets = render(torch.zeros(3, dtype=torch.int64, device="meta"), SIZE)
    assert {x.device.type for x in (images, *targets.values())} == {"meta"}
    assert normals_from_depth(targets["depth"], CAMERA).device.type == "meta"


def test_wrong_sizes_are_refused():
    with pytest.raises(UsageError, match="must be 1 or more"):
        render(KEY, 0)
