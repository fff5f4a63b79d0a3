"""The most memory that something takes."""

import contextlib
import ctypes
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"  # see proc_pid_clear_refs(5)


def forget_peak(device: torch.device) -> bool:
    """Begin to watch: the peak is that of now. False where it cannot be known (a CPU, and not Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    with contextlib.suppress(OSError, AttributeError, TypeError):  # what earlier work freed must not count
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
    except OSError:
        return False
    return True


def peak(device: torch.device) -> int:
    """Bytes at the peak since :func:`forget_peak`: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = (_PROCESS / "status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
