"""Features with known answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mentorch import networks, zoo
from mentorch.transferability import Embeddings

SIZES = {"A": (1000, 64, 10, 12), "B": (60, 256, 6, 12)}


@pytest.fixture(scope="session")
def reference() -> Callable[[str], tuple[Tensor, Tensor, Tensor]]:
    """Features, labels and source probabilities that public implementations were run on; B has fewer samples than D."""

    def make(name: str) -> tuple[Tensor, Tensor, Tensor]:
        count, size, classes, sources = SIZES[name]
        rs = np.random.RandomState(0)
        labels = np.arange(count) % classes
        rs.shuffle(labels)
        centres = rs.randn(classes, size)
        features = centres[labels] + 2 * rs.randn(count, size)
        logits = rs.randn(count, sources)
        logits[np.arange(count), (labels * 3) % sources] += 1.5
        return torch.from_numpy(features), torch.from_numpy(labels), torch.from_numpy(logits).softmax(1)

    return make


@pytest.fixture(scope="session")
def planted() -> Callable[..., tuple[Tensor, Tensor]]:
    """Gaussian classes whose centres are ``separation`` apart in units of the noise, and their labels."""

    def make(
        seed: int, separation: float = 1.0, *, count: int = 60, size: int = 8, classes: int = 4
    ) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count)[torch.randperm(count, generator=generator)] % classes
        centres = torch.randn(classes, size, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, size, generator=generator, dtype=torch.float64)
        return separation * centres[labels] + noise, labels

    return make


@pytest.fixture(scope="session")
def keep() -> Callable[..., zoo.Card]:
    """``keep(folder, name, ...)``: an untrained network of a seed, with its card, in a zoo."""

    def make(
        root: Path,
        name: str,
        network: str = "cnn_tiny",
        *,
        seed: int = 0,
        channels: int = 3,
        change: Callable[[nn.Module], object] = lambda network: None,
        **facts: Any,
    ) -> zoo.Card:
        torch.manual_seed(seed)
        built = networks.build(network, num_classes=5, in_channels=channels)
        with torch.no_grad():
            change(built)
        order = "gray" if channels == 1 else "rgb"
        given = zoo.Input(channels, (8, 8), (0.4,) * channels, (0.3,) * channels, order)
        arguments = {"num_classes": 5, "in_channels": channels}
        return zoo.save(built, root / name, zoo.Card(name, network, arguments, **{"input": given, **facts}))

    return make


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Twelve images that differ in more than noise."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(12, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")


@pytest.fixture(scope="session")
def cloud() -> Callable[..., Embeddings]:
    """Embeddings of M networks in groups, as a store has them."""

    def make(count: int, *, groups: int = 4, noise: float = 1.0, seed: int = 0) -> Embeddings:
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for size in (240, 300):
            centres = torch.randn(groups, size, generator=generator)
            rows = centres[torch.arange(count) % groups] + noise * torch.randn(count, size, generator=generator)
            parts.append((rows / rows.square().mean(1, keepdim=True).sqrt()).half())
        return Embeddings(tuple(f"{i:064x}" for i in range(count)), *parts)

    return make
