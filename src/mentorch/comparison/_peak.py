"""The most memory that something takes."""

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"  # see proc_pid_clear_refs(5)


def peak_memory(device: torch.device) -> Callable[[], int | None]:
    """Begin to watch; what it returns says the peak since, in bytes: of tensors on a GPU, of the process on a CPU.

    None where nobody tells (a CPU, and not Linux). Only one watch at a time, as each forgets what was before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, AttributeError, TypeError):  # what earlier work freed must not count
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
    except OSError:
        return lambda: None
    return _of_process


def _of_process() -> int:
    status = (_PROCESS / "status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
