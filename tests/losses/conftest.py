"""The canonical inputs of the golden values, in float64."""

from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def golden() -> SimpleNamespace:
    double = torch.float64
    k = torch.arange(16).view(2, 2, 2, 2)
    return SimpleNamespace(
        student=torch.tensor([[1, 2, 3], [0, 1, -1], [0, 0, 0.5], [0, 1, 0]], dtype=double),
        teacher=torch.tensor([[2, 0, 1], [1, 2, 0], [0, 0, 1], [3, 0, 0]], dtype=double),
        labels=torch.tensor([2, 1, 0, 0]),
        student_embedding=torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=double),
        teacher_embedding=torch.diag(torch.tensor([1, 2, 3], dtype=double)),
        student_map=k.to(double) / 10,
        teacher_map=(k % 3 - 1).to(double),
    )


@pytest.fixture
def near():
    """Compare with numbers printed to six or seven digits."""

    def check(value: torch.Tensor, expected: list[float] | float) -> None:
        wanted = torch.tensor(expected, dtype=torch.float64)
        # Half a unit of the last printed digit, beside the relative 1e-6.
        torch.testing.assert_close(value.detach(), wanted, rtol=1e-6, atol=6e-7)

    return check
