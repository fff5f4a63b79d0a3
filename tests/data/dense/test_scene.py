import torch

from mentorch.data import sample_keys
from mentorch.data.dense._scene import BALL, BOX, CLASSES, CONE, CYLINDER, draw_scene


def test_scenes_are_furnished_rooms():
    scene = draw_scene(sample_keys(0, 0, torch.arange(500)), objects=2)
    assert scene.shape.tolist() == [BALL, BALL, BOX, BOX, CYLINDER, CYLINDER, CONE, CONE]
    assert [CLASSES[3 + s] for s in (BALL, BOX, CYLINDER, CONE)] == ["ball", "box", "cylinder", "cone"]
    assert (scene.eye.abs() < scene.room).all()
    assert (scene.light.abs() < scene.room).all()
    assert 0.7 < scene.present.float().mean() < 0.8
    x, y, z = scene.half[:, :8].unbind(2)
    round_ = scene.shape != BOX
    assert torch.equal(x[:, round_], z[:, round_])
    assert torch.equal(x[:, :2], y[:, :2])
    assert (x[:, ~round_] != z[:, ~round_]).all()


def test_turns_are_rotations_and_objects_stand_on_the_floor_or_float():
    scene = draw_scene(sample_keys(1, 0, torch.arange(300)))
    turn = (scene.inward[:, :8] * scene.half[:, :8, :, None]).mT
    unit = torch.eye(3).expand_as(turn)
    torch.testing.assert_close(turn @ turn.mT, unit, atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.look @ scene.look.mT, torch.eye(3).expand(300, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(turn) > 0).all()
    upright = (turn[..., 1, 1] - 1).abs() < 1e-6
    assert 0.6 < upright.float().mean() < 0.9
    foot = scene.centre[:, :8, 1] + scene.half[:, :8, 1]
    floor = scene.room[:, 1:2].expand_as(foot)
    torch.testing.assert_close(foot[upright], floor[upright])


def test_a_scene_depends_on_its_key_alone():
    keys = sample_keys(2, 0, torch.arange(9))
    whole, part = draw_scene(keys), draw_scene(keys[4:6])
    for name in ("eye", "look", "room", "present", "centre", "inward", "half", "colours", "pattern", "light", "power"):
        assert torch.equal(getattr(whole, name)[4:6], getattr(part, name)), name
