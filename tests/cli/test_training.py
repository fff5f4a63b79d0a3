from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from mentorch import UsageError, gates
from mentorch.cli import _training
from mentorch.cli._recipe import OPTIMIZERS, Recipe, TrainRecipe, check
from mentorch.comparison import training_batches
from mentorch.data import Dataset, load
from mentorch.methods import supervise
from mentorch.networks import cnn_tiny
from mentorch.training import On
from mentorch.training._optimizers import Plateau


def recipe(**options: Any) -> Recipe:
    return check(TrainRecipe, options)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", train_size=100)


def made(**options: Any) -> torch.optim.Optimizer:
    return _training.optimizer(recipe(**options))(list(nn.Linear(2, 2).parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimiser_is_torchs_own(name: str) -> None:
    optimizer = made(optimizer=name, lr=0.25, weight_decay=0.125)
    assert type(optimizer).__name__.lower() == name
    assert type(optimizer).__module__.startswith("torch.optim")
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "lr": 1e-3}),
        ({"betas": (0.5, 0.6)}, {"betas": (0.5, 0.6)}),
        ({"optimizer": "adamax", "betas": (0.5, 0.6)}, {"betas": (0.5, 0.6)}),
        ({"keras_compat": True}, {"eps": 1e-7}),
        ({"optimizer": "adagrad", "keras_compat": True}, {"eps": 1e-7}),
        ({"optimizer": "rmsprop"}, {"alpha": 0.9, "momentum": 0.0}),
        ({"optimizer": "rmsprop", "rho": 0.5, "momentum": 0.25}, {"alpha": 0.5, "momentum": 0.25}),
        ({"optimizer": "adadelta"}, {"rho": 0.9, "lr": 1e-3}),
        ({"optimizer": "adadelta", "rho": 0.5}, {"rho": 0.5}),
        ({"optimizer": "sgd", "momentum": 0.5, "nesterov": True}, {"momentum": 0.5, "nesterov": True}),
    ],
)
def test_options_reach_the_optimiser(options: dict[str, Any], expected: dict[str, Any]) -> None:
    (group,) = made(**options).param_groups
    assert {name: group[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lr_time_decay": 0}, [Plateau(0.1, 8, 1e-8, 2e-4)]),
        ({"lr_time_decay": 0, "lr_patience": 1, "lr_factor": 0.5, "lr_min": 1e-4}, [Plateau(0.5, 1, 1e-4, 2e-4)]),
        ({"lr_time_decay": 0, "lr_schedule": "constant"}, []),
        ({"lr_time_decay": 0, "lr_schedule": "cosine"}, [gates.Cosine(1.0, 0.0)]),
        ({"lr_time_decay": 0, "lr_schedule": "multistep"}, [gates.Steps((0.5, 0.75), 0.1)]),
        (
            {"lr_time_decay": 0, "lr_schedule": "multistep", "lr_milestones": "0.2", "lr_factor": 0.5},
            [gates.Steps((0.2,), 0.5)],
        ),
        ({"lr_time_decay": 0, "lr_schedule": "constant", "lr_warmup": 0.1}, [gates.Warmup(0.1)]),
        ({"lr_schedule": "constant"}, [gates.Decay(1e-6 * 10)]),
    ],
)
def test_schedules_are_those_of_the_recipe(options: dict[str, Any], expected: list[Any]) -> None:
    assert _training.schedule(recipe(**options), 11) == expected


def test_time_decay_divides_by_one_plus_decay_times_step() -> None:
    (gate,) = _training.schedule(recipe(lr_schedule="constant", lr_time_decay=0.25), 9)
    for step in range(9):
        assert gate(gates.progress_at(step, 9)) == pytest.approx(1 / (1 + 0.25 * step))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"batch_size": 50, "epochs": 3}, 6),
        ({"batch_size": 33, "epochs": 2}, 6),  # the fourth batch would be one image alone
        ({"batch_size": 30, "epochs": 2}, 8),
        ({"batch_size": 30, "epochs": 2, "accumulate": 3}, 4),
    ],
)
def test_the_rate_at_the_last_step_is_that_of_its_number(digits: Dataset, options: dict[str, int], steps: int) -> None:
    fit = _training.trainer(recipe(lr=1.0, lr_time_decay=0.5, lr_schedule="constant", **options), digits)
    rates = []

    def see(training) -> None:
        rates.append(training.steering.rates()["all"])

    fit(
        supervise(cnn_tiny(10, 1)),
        training_batches(digits.train, options["batch_size"]),
        validation=[(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))],
        callbacks=[On("step", see)],
    )
    assert rates == pytest.approx([1 / (1 + 0.5 * step) for step in range(steps)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"epochs": 125, "patience": 15, "clip_norm": None, "clip_value": None, "accumulate": 1, "ema": None}),
        ({}, {"precision": "32-true", "compile": False, "tensorboard": True}),
        ({"early_stop": 0}, {"patience": None}),
        ({"clip_norm": 2}, {"clip_norm": 2.0}),
        ({"clip_value": 2}, {"clip_value": 2.0}),
        ({"accumulate": 4}, {"accumulate": 4}),
        ({"ema": 0.5}, {"ema": 0.5}),
        ({"precision": "bf16-mixed"}, {"precision": "bf16-mixed"}),
        ({"compile": True}, {"compile": True}),
        ({"channels_last": True}, {"channels_last": True}),
        ({"tensorboard": False}, {"tensorboard": False}),
        ({"device": "cpu"}, {"device": "cpu"}),
    ],
)
def test_options_reach_fit(digits: Dataset, options: dict[str, Any], expected: dict[str, Any]) -> None:
    bound = _training.trainer(recipe(**options), digits).keywords
    assert {name: bound[name] for name in expected} == expected
    assert bound["monitor"].metric == "accuracy"
    assert bound["monitor"].min_delta == 2e-4


def test_a_batch_larger_than_the_data_is_refused(digits: Dataset) -> None:
    with pytest.raises(UsageError, match=r"batch size 101 is larger than the training split \(100 images\)"):
        _training.trainer(recipe(batch_size=101), digits)


def test_a_device_that_is_not_here_is_refused() -> None:
    assert _training.device(recipe(device="cpu")) == torch.device("cpu")
    with pytest.raises(UsageError, match="unknown device 'cude': did you mean 'cuda'"):
        _training.device(recipe(device="cude"))
    if not torch.cuda.is_available():
        assert _training.device(recipe()) == torch.device("cpu")
        for name in ("cuda", "gpu"):
            with pytest.raises(UsageError, match="device 'cuda' was asked for, but"):
                _training.device(recipe(device=name))


def test_the_public_protocol_has_no_normalisation_no_augmentation_and_thirty_percent() -> None:
    public, modern = recipe(protocol="public"), recipe(augment="standard")
    data, ours = _training.dataset(public, None), _training.dataset(modern, None)
    assert len(data.validation) / (len(data.train) + len(data.validation)) == pytest.approx(0.3, abs=2e-3)
    assert len(ours.validation) / (len(ours.train) + len(ours.validation)) == pytest.approx(0.1, abs=2e-3)
    assert _training.view(public, data) is None
    assert _training.augmentation(public, data) is None
    assert _training.augmentation(modern, ours) is not None
    view = _training.view(modern, ours)
    assert view is not None
    assert view.mean.flatten().tolist() == pytest.approx(ours.mean)


def test_data_options_reach_the_data() -> None:
    base = _training.dataset(recipe(), 90)
    assert len(base.train) == 90
    other = _training.dataset(recipe(split_seed=1), 90)
    assert other.fingerprint != base.fingerprint
    assert len(_training.dataset(recipe(val_fraction=0.5), None).validation) > len(base.validation) * 4


def test_a_validation_split_that_is_not_as_asked_is_refused(tmp_path) -> None:
    for split in ("train", "val"):
        for label in ("ant", "bee"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (8, 8)).save(tmp_path / split / label / f"{number}.png")
    whole = f"folder:{tmp_path}"
    assert len(_training.dataset(recipe(data=whole), None).validation) == 6
    with pytest.raises(UsageError, match=r"val_fraction has no effect with folder:.* a validation split of its own"):
        _training.dataset(recipe(data=whole, val_fraction=0.2), None)
    with pytest.raises(UsageError, match=r"val_fraction 0.05 of 'folder:.*train' leaves no image"):
        _training.dataset(recipe(data=f"{whole}/train", val_fraction=0.05), None)


def test_an_example_is_a_few_images_with_labels_and_rows(digits: Dataset) -> None:
    images, labels, index = _training.example(digits)
    assert images.shape == (4, 1, 8, 8)
    assert torch.equal(index, digits.train.index[:4])
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(labels, digits.train.labels[:4])
