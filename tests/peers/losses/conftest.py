"""What torchdistill's losses expect, and how two losses are compared."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture
def draw() -> Callable[..., list[Tensor]]:
    """Random tensors of the shapes asked for, float64; the first wants gradients."""

    def make(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        made[0].requires_grad_()
        return made

    return make


@pytest.fixture
def shown() -> Callable[..., dict[str, dict[str, Any]]]:
    """What a network showed, as torchdistill hands it over: module path -> what it read and gave."""

    def make(**modules: Any) -> dict[str, dict[str, Any]]:
        return {path: {"input": value, "output": value} for path, value in modules.items()}

    return make


@pytest.fixture
def agree() -> Callable[..., None]:
    """Two values agree to 1e-6, and their gradients to 1e-6 of the largest entry."""

    def check(ours: Tensor, theirs: Tensor, learning: Tensor | Sequence[Tensor]) -> None:
        torch.testing.assert_close(ours, theirs.view_as(ours), rtol=1e-6, atol=1e-12)
        found, expected = (torch.autograd.grad(value.sum(), learning, retain_graph=True) for value in (ours, theirs))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max()))

    return check
