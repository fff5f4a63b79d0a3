"""Features with known answers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

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
