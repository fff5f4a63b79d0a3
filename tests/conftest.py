"""Every test runs on one thread, without a display, and the same way each time on CI."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# before torch and matplotlib are imported; programs that tests start inherit these
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

hypothesis.settings.register_profile(
    "mentorch",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine is not a bug
)
hypothesis.settings.load_profile("mentorch")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Functions and partials by name: an address in an id would differ between the processes of one run."""
    made = ".".join(str(value) for value in getattr(val, "keywords", {}).values())
    while isinstance(val, functools.partial):
        val = val.func
    return f"{val.__qualname__}{made}" if callable(val) and hasattr(val, "__qualname__") else None


@pytest.fixture(scope="session")
def together() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``together(case, world=2, **arguments)``: what each of so many processes answers; see ``together.py``."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("together.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        asked, answers = server.stdin, server.stdout

        def ask(case: str, world: int = 2, **arguments: Any) -> list[dict[str, Any]]:
            asked.write(json.dumps({"case": case, "world": world, "arguments": arguments}, default=str) + "\n")
            asked.flush()
            found: list[dict[str, Any]] = json.loads(answers.readline())
            return found

        yield ask
        asked.close()
        try:
            assert server.wait(60) == 0
        finally:
            server.kill()
