"""Every test runs on one thread, without a display, and the same way each time on CI."""

import functools
import os

# before torch and matplotlib are imported; programs that tests start inherit these
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
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
