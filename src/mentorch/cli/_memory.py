"""Memory that a step frees is kept for the next one."""

import contextlib
import ctypes
import os

# of mallopt in malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Let the C library of this process keep what is freed, instead of handing it back and faulting it in again.

    A training step frees the maps that it made, and the next one makes them again; on a CPU the faults are a part of a
    step that can be saved, and the peak is the same (``docs/benchmarks.md``). Whoever sets ``MALLOC_...`` or
    ``GLIBC_TUNABLES`` has decided, and another C library does as it likes.

    Returns:
        Whether something was changed.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    return False
