"""A problem that takes no time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mentorch import fit
from mentorch.data import Dataset, Split
from mentorch.search import Problem

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Linear(width, 3))


def split(n: int, seed: int) -> Split:
    """Three blurred patterns."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    patterns = torch.eye(16)[:3].view(3, 1, 4, 4) * 120
    images = (patterns[labels] + torch.rand(n, 1, 4, 4, generator=draw) * 135).to(torch.uint8)
    return Split(images, labels, torch.arange(n))


def dataset(seed: int = 0) -> Dataset:
    splits = {name: split(30, 10 * seed + i) for i, name in enumerate(("train", "validation", "test"))}
    return Dataset.of("patterns", **splits, classes=("a", "b", "c"))


def problem(epochs: int = 2, **changed: Any) -> Problem:
    options = {
        "target": partial(network, 2),
        "partners": {"narrow": partial(network, 2), "wide": partial(network, 8)},
        "data": dataset(),
        "fit": partial(fit, tensorboard=False, device="cpu", progress=False, checkpoint_seconds=60.0),
        "optimizer": partial(torch.optim.SGD, lr=0.5),
        "epochs": epochs,
        "batch_size": 10,
    }
    return Problem(**{**options, **changed})


@pytest.fixture
def toy() -> Callable[..., Problem]:
    """``toy(epochs=2, **changed)``: a problem of three patterns and networks of a few weights."""
    return problem


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a search."""
    return tmp_path / "study"
