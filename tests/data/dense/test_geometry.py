import pytest
import torch

from mentorch import UsageError
from mentorch.data import sample_keys
from mentorch.data.dense import IGNORE, Camera, Crop, Flip, Rotate, Zoom, normals_from_depth, render

SIZE = (24, 32)
KEY = sample_keys(0, 0, torch.arange(4))
STEPS = [
    Flip(1.0),
    Flip(1.0, vertical=True),
    Rotate(30.0),
    Zoom(1.1, 1.6),
    Zoom(0.6, 0.9),
    Zoom(1.5, 1.5, rescale=False),
    Crop((16, 20)),
    Crop(24, padding=3),
]
EXACT = [Flip(1.0), Flip(1.0, vertical=True), Crop((16, 20)), Crop(40)]


def compose(steps, size=SIZE, key=KEY):
    placement = None
    for number, step in enumerate(steps):
        own = key + number
        placed = step.place(own, placement.size if placement else size)
        placement = placement.then(placed) if placement else placed
    return placement


def coordinates(count=4, size=SIZE):
    """An image whose channels are the column and the row, and labels that number the pixels modulo 251."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    image = torch.stack((columns, rows, torch.ones(size)))[None].expand(count, -1, -1, -1)
    labels = ((rows * size[1] + columns) % 251).to(torch.uint8)[None].expand(count, -1, -1)
    return image, labels


def planes(camera, size=SIZE):
    """Depth and normals of four tilted planes."""
    normals = torch.tensor([[0.3, 0.2, -1.0], [-0.5, 0.1, -1.0], [0.1, -0.6, -1.0], [0.0, 0.9, -0.6]])
    normals = normals / normals.norm(dim=1, keepdim=True)
    facing = -torch.einsum("nc,chw->nhw", normals, camera.rays(size))
    depth = torch.where(facing > 0.05, 2.0 / facing, 0.0)[:, None]
    return depth, normals[:, :, None, None] * (depth > 0)


def degrees(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=1).norm(dim=1), (a * b).sum(1)))


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_image_and_labels_stay_aligned_to_the_pixel(step):
    image, labels = coordinates()
    placed = step.place(KEY, SIZE)
    moved, named = placed.image(image), placed.targets({"segmentation": labels})["segmentation"]
    whole = moved[:, 2] > 1 - 1e-4  # where no part of the pixel is outside
    assert whole.any()
    # the image says which position it shows; the label there is that of the nearest pixel
    at = (moved[:, :2] + 0.5).floor().long()
    sure = ((moved[:, :2] + 0.5).frac() - 0.5).abs().amax(1) < 0.499  # but for ties
    expected = labels[0][at[:, 1].clamp(0, SIZE[0] - 1), at[:, 0].clamp(0, SIZE[1] - 1)]
    assert torch.equal(named[whole & sure], expected[whole & sure])
    assert (named[moved[:, 2] < 1e-4] == IGNORE).all()


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_what_was_outside_counts_nowhere(step):
    ones = {
        "segmentation": torch.zeros(4, *SIZE, dtype=torch.uint8),
        "depth": torch.ones(4, 1, *SIZE),
        "normals": torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(4, 3, *SIZE),
        "mask": torch.ones(4, 1, *SIZE, dtype=torch.bool),
    }
    found = step.place(KEY, SIZE).targets(ones)
    inside = found["mask"]
    assert found["mask"].dtype == torch.bool
    assert torch.equal(inside[:, 0], found["segmentation"] == 0)
    assert torch.equal(inside[:, 0], found["segmentation"] != IGNORE)
    assert torch.equal(inside, found["depth"] > 0)
    assert torch.equal(inside, (found["normals"] != 0).any(1, keepdim=True))
    assert found["normals"].norm(dim=1, keepdim=True)[inside] == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [[step] for step in STEPS] + [STEPS[:4], [Rotate(20.0), Zoom(), Flip(), Crop(20)]])
def test_normals_of_the_transformed_depth_are_the_transformed_normals(steps):
    camera = Camera.of(60.0, SIZE)
    depth, normals = planes(camera)
    placed = compose(steps)
    found = placed.targets({"depth": depth, "normals": normals})
    for sample, moved in enumerate(placed.moved(camera)):
        own = found["depth"][sample : sample + 1]
        derived = normals_from_depth(own, moved)
        known = (own > 0)[:, 0] & (derived != 0).any(1)
        assert known.float().mean() > 0.3
        assert degrees(derived, found["normals"][sample : sample + 1])[known].max() < 0.1


@pytest.mark.parametrize("steps", [[Flip(1.0)], [Rotate(8.0), Zoom(1.1, 1.4)]])
def test_the_same_on_rendered_scenes(steps):
    size = (64, 64)
    camera = Camera.of(65.0, size)
    _, targets = render(KEY, size, camera=camera, samples=1)
    placed = compose(steps, size)
    found = placed.targets(targets)
    derived = torch.cat(
        [normals_from_depth(d[None], c) for d, c in zip(found["depth"], placed.moved(camera), strict=True)]
    )
    known = found["depth"][:, 0] > 0
    angle = degrees(derived, found["normals"])[known]
    assert angle.median() < 0.1
    assert (angle < 3).float().mean() > 0.8  # the rest are edges


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_depth_points_stay_on_their_surface(step):
    """Back-projected by the moved camera, every point fits the turned and stretched plane it was on."""
    camera = Camera.of(60.0, SIZE)
    depth, normals = planes(camera)
    placed = step.place(KEY, SIZE)
    found = placed.targets({"depth": depth, "normals": normals})
    for sample, moved in enumerate(placed.moved(camera)):
        z = found["depth"][sample, 0]
        points = moved.rays(placed.size) * z
        heights = (points * found["normals"][sample]).sum(0)[z > 0]
        assert heights.std() < 2e-4 * heights.abs().mean()


@pytest.mark.parametrize("step", EXACT, ids=repr)
def test_an_exact_transform_and_its_inverse_restore_every_bit(step):
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(4, 1, *SIZE, generator=generator)
    image = torch.rand(4, 3, *SIZE, generator=generator)
    labels = torch.randint(0, 9, (4, *SIZE), generator=generator, dtype=torch.uint8)
    normals = torch.nn.functional.normalize(torch.randn(4, 3, *SIZE, generator=generator), dim=1)
    mask = torch.ones(4, 1, *SIZE, dtype=torch.bool)
    there = step.place(KEY, SIZE)
    back = there.inverse(SIZE)
    once = there.targets({"depth": depth, "segmentation": labels, "normals": normals, "mask": mask})
    twice = back.targets(once)
    kept = twice["mask"]
    assert kept.float().mean() > 0.3
    assert torch.equal(twice["depth"], depth * kept)
    assert torch.equal(back.image(there.image(image)), image * kept)
    assert torch.equal(twice["segmentation"][kept[:, 0]], labels[kept[:, 0]])
    torch.testing.assert_close(twice["normals"], normals * kept)


def test_flips_mirror_the_normals():
    normals = torch.tensor([0.6, 0.48, -0.64]).view(1, 3, 1, 1).expand(4, 3, *SIZE)
    horizontal = Flip(1.0).place(KEY, SIZE).targets({"normals": normals})["normals"]
    vertical = Flip(1.0, vertical=True).place(KEY, SIZE).targets({"normals": normals})["normals"]
    torch.testing.assert_close(horizontal, normals * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1))
    torch.testing.assert_close(vertical, normals * torch.tensor([1.0, -1, 1]).view(1, 3, 1, 1))


def test_zoom_divides_depth_and_a_longer_lens_does_not():
    depth = torch.full((4, 1, *SIZE), 3.0)
    near = Zoom(1.5, 1.5).place(KEY, SIZE).targets({"depth": depth})["depth"]
    lens = Zoom(1.5, 1.5, rescale=False).place(KEY, SIZE).targets({"depth": depth})["depth"]
    torch.testing.assert_close(near, depth / 1.5)
    assert torch.equal(lens, depth)
    camera = Camera.of(60.0, SIZE)
    assert Zoom(1.5, 1.5).place(KEY, SIZE).moved(camera)[0].fx == pytest.approx(camera.fx)
    assert Zoom(1.5, 1.5, rescale=False).place(KEY, SIZE).moved(camera)[0].fx == pytest.approx(1.5 * camera.fx)


def test_draws_depend_on_the_key_alone_and_cover_their_range():
    key = sample_keys(3, 0, torch.arange(4000))
    assert torch.equal(Rotate(10.0).place(key, SIZE).source[7:9], Rotate(10.0).place(key[7:9], SIZE).source)
    zoom = Zoom(1.0, 1.5).place(key, SIZE).zoom
    assert (zoom.min() >= 1.0) & (zoom.max() <= 1.5)
    assert zoom.mean() == pytest.approx(1.25, abs=0.01)
    turn = Rotate(10.0).place(key, SIZE).turn
    angle = torch.rad2deg(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert (angle.abs().max() <= 10.001) & (angle.abs().max() > 9.9)
    assert angle.mean().abs() < 0.4
    flipped = Flip(0.3).place(key, SIZE).turn[:, 0, 0] < 0
    assert flipped.float().mean() == pytest.approx(0.3, abs=0.03)
    starts = Crop((20, 32), padding=0).place(key, SIZE).source[:, 1, 2]
    assert starts.unique().tolist() == [0, 1, 2, 3, 4]
    assert Crop(24, padding=2).place(key, (24, 24)).source[:, 0, 2].unique().tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize(
    "make",
    [lambda: Flip(1.5), lambda: Rotate(-1.0), lambda: Zoom(0.0, 1.0), lambda: Zoom(2.0, 1.0), lambda: Crop(0)],
)
def test_impossible_steps_are_refused(make):
    with pytest.raises(UsageError):
        make()
