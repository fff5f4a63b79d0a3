import torch

from mentorch.data.dense._sampling import Positions, sample_depth, sample_image, sample_normals, sample_segmentation


def at(x, y):
    return Positions(torch.tensor([[x]]), torch.tensor([[y]]))


def test_an_image_is_bilinear_and_black_outside():
    image = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(1, 1, 2, 2)
    found = sample_image(image, at([0.25, 0.5, -0.5, 5.0], [0.0, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.25, 0.5, 0.0, 0.0]))
    whole = torch.nn.functional.grid_sample(  # another implementation, in its own coordinates
        image, torch.tensor([[[[-0.5, -0.5], [0.0, 0.0]]]]), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(sample_image(image, at([0.25, 0.5], [0.25, 0.5])), whole)


def test_integers_are_read_as_they_are():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    assert torch.equal(sample_image(image, Positions(x[None], y[None])), image / 255)


def test_labels_are_never_mixed():
    labels = torch.tensor([[[3, 200]]], dtype=torch.uint8)
    found = sample_segmentation(labels, at([0.4, 0.6, 0.5, 9.0], [0.0] * 4))
    assert found.flatten().tolist() == [3, 200, 200, 255]
    assert found.dtype == torch.uint8


def test_depth_follows_its_surface_and_is_never_mixed_across_an_edge():
    wall = 1 / torch.linspace(0.5, 0.4, 5)  # a plane: inverse depth is linear
    row = torch.cat((wall, torch.tensor([6.0, 6.0, 6.0, 0.0])))
    depth = row.expand(1, 1, 3, 9)
    found = sample_depth(depth, at([1.25, 2.5, 4.4, 4.6, 6.5, 7.4, 7.6, 99.0], [1.0] * 8)).flatten()
    line = 1 / (0.5 - 0.025 * torch.tensor([1.25, 2.5, 4.4]))
    torch.testing.assert_close(found[:3], line, rtol=2e-3, atol=0)
    torch.testing.assert_close(found[3:], torch.tensor([6.0, 6.0, 6.0, 0.0, 0.0]), rtol=2e-3, atol=0)


def test_normals_are_mixed_on_one_face_and_never_across_an_edge():
    near = torch.tensor([0.1, 0.0, -1.0]) / torch.tensor([0.1, 0.0, -1.0]).norm()
    front, side = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    normals = torch.stack((front, near, side, torch.zeros(3)), dim=1).view(1, 3, 1, 4)
    found = sample_normals(normals, at([0.5, 1.4, 1.6, 2.4, 2.6], [0.0] * 5))[0, :, 0].T
    between = (front + near) / (front + near).norm()
    torch.testing.assert_close(found, torch.stack((between, near, side, side, torch.zeros(3))))
