"""What benchmarks share: memory that is kept, and the machine in one line."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

KEEP_MEMORY = {  # read at the start; threads that wait for others sleep, as spinning counts as CPU time
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "OMP_WAIT_POLICY": "passive",
}


def keep_memory() -> None:
    """Start again with a C library that keeps freed memory: to hand it back and fault it in is a matter of luck."""
    if not KEEP_MEMORY.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)


def machine() -> str:
    """Processor, versions, commit, day, and how busy it is."""
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    packages = [f"{name} {_version(name)}" for name in ("torch", "torchdistill") if _version(name)]
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    processor = f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    python = f"Python {platform.python_version()}"
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    state = f"commit {commit.stdout.strip() or 'unknown'}", time.strftime("%Y-%m-%d", time.gmtime()), load
    return ", ".join(filter(None, (processor, python, *packages, *state)))


def _version(package: str) -> str:
    if package == "torch":
        return torch.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    print(machine())
