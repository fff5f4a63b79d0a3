"""Where a number was made."""

import importlib.metadata
import os
import platform
from typing import Any

import torch

from mentorch import _processes

PACKAGES = ("mentorch", "torch", "numpy", "lightning-fabric", "scikit-learn", "timm", "torchvision", "transformers")


def environment() -> dict[str, Any]:
    """Versions, processor, accelerator and threads, as plain data."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": _processes.world(),
        "gpus": gpus,
        "versions": versions,
    }
