"""What tests of training share: tiny networks, data, and a program whose runs can be killed."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, freeze

Request = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def killable() -> Iterator[Request]:
    """``killable(case=..., run=..., end=...)``: train in a process of its own that ends as asked for."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("killed.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def request(**what: Any) -> dict[str, Any]:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(what, default=str) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield request
        assert server.stdin is not None
        server.stdin.close()
        try:
            assert server.wait(10) == 0
        finally:
            server.kill()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def data(batches: int = 4, size: int = 6, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.randn, size, 4, generator=generator)
    return [(draw(), torch.randint(0, 3, (size,), generator=generator)) for _ in range(batches)]


@pytest.fixture(name="data")
def data_fixture() -> Callable[..., list[tuple[Tensor, Tensor]]]:
    """``data(batches, size, seed)``: batches of vectors with 4 elements, in 3 classes."""
    return data


@pytest.fixture
def linear() -> Callable[..., Graph]:
    """``linear(seed)``: a linear student with the labels and a linear frozen teacher."""

    def make(seed: int = 0, weight: float = 0.5) -> Graph:
        torch.manual_seed(seed)
        return Graph(
            {"teacher": freeze(nn.Linear(4, 3)), "student": nn.Linear(4, 3)},
            [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", F.mse_loss, weight)],
        )

    return make
