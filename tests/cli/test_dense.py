import dataclasses
import math

import pytest
import torch

from mentorch import RunError, UsageError
from mentorch.cli import _dense
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.data import Normalize, dense
from mentorch.networks import segnet_tiny


def recipe(**values) -> BranchRecipe:
    return BranchRecipe.model_validate({"size": (12, 16), **values})


def test_scenes_of_any_number() -> None:
    found = _dense.data_of(recipe(train_size=20))
    assert [len(found.train), len(found.validation), len(found.test)] == [20, 2, 5]
    assert found.size == (12, 16)
    assert _dense.data_of(recipe(train_size=20, size=(12,))).size == (12, 12)
    assert [_dense.outputs_of(found, task) for task in ("segmentation", "depth", "normals")] == [7, 1, 3]


def test_some_images_of_a_folder_have_statistics_of_their_own(tmp_path, monkeypatch) -> None:
    whole = dense.scenes((12, 16), train=30, validation=3, test=4)
    depth = {name: getattr(whole, name) for name in ("train", "validation", "test")}
    without = {n: dense.DenseSplit(s.images, {"depth": s.targets["depth"]}, s.index) for n, s in depth.items()}
    monkeypatch.setattr(_dense.dense, "load", lambda *_, **__: dense.DenseDataset.of("f", classes=(), **without))
    found = _dense.data_of(recipe(data="folder:x", train_size=10, tasks=("depth",)))
    assert len(found.train) == 10
    assert found.mean == pytest.approx((whole.train.images[:10].float() / 255).mean((0, 2, 3)).tolist(), abs=1e-4)
    with pytest.raises(UsageError, match="folder:x has no segmentation: it has depth"):
        _dense.data_of(recipe(data="folder:x"))


def test_images_and_targets_are_augmented_together_and_nothing_is_left_empty() -> None:
    data = _dense.data_of(recipe(train_size=10))
    assert _dense.augmentation(recipe()) is None
    augment = _dense.augmentation(recipe(augment="standard"))
    assert isinstance(augment, dense.Together)
    images, targets = augment.together(data.train.images, data.train.targets, torch.arange(10))
    assert images.shape == data.train.images.shape
    assert (targets["depth"] > 0).all()  # a zoom of 1 or more shows nothing from outside
    assert (targets["segmentation"] != dense.IGNORE).all()


def test_a_segmentation_is_learned_hard_or_soft_and_tasks_have_weights() -> None:
    found = _dense.from_teachers(recipe(segmentation="soft", weight={"depth": 2.0}))
    assert {task: weight for task, (_, weight) in found.items()} == {"segmentation": 1.0, "depth": 2.0, "normals": 1.0}
    logits = torch.randn(1, 3, 2, 2)
    assert found["segmentation"][0](logits, logits).item() == pytest.approx(0, abs=1e-6)
    assert _dense.from_teachers(recipe())["segmentation"][0](logits, logits).item() > 0.1


def test_validation_losses_are_those_from_labels_and_their_sum() -> None:
    data = _dense.data_of(recipe(train_size=10)).test
    labels = {name: x.long() if name == "segmentation" else x for name, x in data.targets.items()}
    output = {
        "segmentation": torch.randn(2, 7, 12, 16),
        "depth": torch.rand(2, 1, 12, 16),
        "normals": torch.randn(2, 3, 12, 16),
    }
    found = {name: metric(output, labels) for name, metric in _dense.validation_metrics(list(output)).items()}
    torch.testing.assert_close(found["loss"], found["segmentation"] + found["depth"] + found["normals"])
    torch.testing.assert_close(found["depth"], (output["depth"] - labels["depth"]).abs().mean((1, 2, 3)))
    (alone,) = _dense.validation_metrics(["depth"]).values()
    torch.testing.assert_close(alone(output["depth"], labels), found["depth"])


def test_measured_over_a_whole_split_whatever_the_batches() -> None:
    data = _dense.data_of(recipe(train_size=20))
    network, view = segnet_tiny(1), Normalize(data.mean, data.std)
    one, other = (_dense.measured(network, data, data.test, ["depth"], view, size) for size in (2, 100))
    assert one == pytest.approx(other, rel=1e-6)
    with torch.no_grad():
        said = network.eval()(view(data.test.images.float() / 255))
    wanted = math.sqrt((said.clamp(min=1e-3) - data.test.targets["depth"]).square().mean())
    assert one["depth rmse"] == pytest.approx(wanted, rel=1e-5)


def test_what_nobody_labelled_is_not_measured_and_who_diverged_is_told() -> None:
    data = _dense.data_of(recipe(train_size=20))
    network, view = segnet_tiny(1), Normalize(data.mean, data.std)
    empty = dataclasses.replace(data.test, targets={"depth": torch.full_like(data.test.targets["depth"], math.nan)})
    assert not [name for name in _dense.measured(network, data, empty, ["depth"], view, 8) if "rmse" in name]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(RunError, match="the network has diverged: its depth"):
        _dense.measured(network, data, data.test, ["depth"], view, 8)
