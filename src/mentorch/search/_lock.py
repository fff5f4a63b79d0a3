"""A lock that is waited for, and dies with its process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mentorch._errors import RunError
from mentorch._files import lock


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, once nobody else does; it is let go however the process ends.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle: IO[str] = path.open("w")
    except OSError as error:
        raise RunError(f"cannot use {path}: {error.strerror or error}") from error
    with handle:
        lock(handle, wait=True)
        yield


class JournalLock:
    """The same lock, as Optuna's journal asks for it; its own waits half a minute after a process was killed."""

    def __init__(self, path: Path):
        self._path, self._stack = path, contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._stack.enter_context(held(self._path))
        return True

    def release(self) -> None:
        """Let it go."""
        self._stack.close()
