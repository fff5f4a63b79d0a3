"""Files that are whole or not there: atomic writes, hashes, and nothing that executes on reading."""

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mentorch._errors import RunError

_SEAL = '"sha256": "'


def write_atomic(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, flush it to disk, then rename it into place.

    A reader sees the old file or the new one, never half of one, also after a crash.

    Args:
        path: the file.
        write: fills the file that it is given.
        durable: wait until the disk has it; without, the machine (not the process) may crash and take it along.

    Raises:
        RunError: if the folder cannot be written or the disk is full; the old file is intact.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # as the user's umask asks for
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that nobody else may read
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except Exception as error:
        if isinstance(error, OSError) or "os error" in str(error):  # safetensors reports a full disk in its own type
            raise RunError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
        raise
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` (UTF-8) atomically; see :func:`write_atomic`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write, durable=durable)


def append_text(path: Path, text: str) -> None:
    """Append ``text`` (UTF-8) to a file; a process that is killed may leave a part of it.

    Raises:
        RunError: if the file cannot be written or the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; a NaN or an infinity, which JSON has not, as null."""
    write_text(path, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def in_lines(records: Iterable[Mapping[str, Any]]) -> str:
    r"""Each record as a line of JSON, as :func:`write_json` has it.

    >>> in_lines([{"epoch": 1, "loss": float("nan")}])
    '{"epoch": 1, "loss": null}\n'
    """
    return "".join(json.dumps(finite(record), allow_nan=False) + "\n" for record in records)


def finite(value: Any) -> Any:
    """``value`` with null for numbers that JSON has not.

    >>> finite({"a": [1.0, float("inf")], "b": float("nan")})
    {'a': [1.0, None], 'b': None}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: if the file is missing or is not JSON.
    """
    return _read(path, json.loads)


def seal(value: Mapping[str, Any], indent: int | None = None) -> str:
    r"""``value`` as a JSON object whose last entry, ``sha256``, is the hash of all text before that entry.

    >>> seal({"epoch": 3})
    '{"epoch": 3, "sha256": "9038b06909023edb5547620e1c12ee04f5876dd379b407df9ef492f5ef3556be"}\n'
    """
    space = " " if indent is None else "\n" + " " * indent
    text = json.dumps(value, indent=indent).removesuffix("}").rstrip() + f",{space}"
    end = "" if indent is None else "\n"
    return f'{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}"{end}}}\n'


def unseal(text: str) -> Any:
    """What :func:`seal` wrote, without the seal.

    Raises:
        ValueError: if a single character of it differs.
    """
    sealed, seal_, end = text.rpartition(_SEAL)
    if not seal_ or end[64:] not in ('"}\n', '"\n}\n'):
        raise ValueError("it has no hash of its own, or is cut off")
    if hashlib.sha256(sealed.encode()).hexdigest() != end[:64]:
        raise ValueError("it does not have the SHA-256 that it states")
    value = json.loads(text)
    del value["sha256"]
    return value


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write what a later process will rely on as JSON with a hash of its own, atomically; see :func:`seal`."""
    write_text(path, seal(value, indent=2))


def read_sealed(path: Path) -> Any:
    """Read what :func:`write_sealed` wrote.

    Raises:
        RunError: if the file is missing, or is not what was written.
    """
    return _read(path, unseal)


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged or not JSON: {error}") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, for this process; the lock dies with the process, however it dies.

    Raises:
        RunError: if a live process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise RunError(f"cannot use folder {folder}: {error.strerror or error}") from error
    with handle:
        try:
            lock(handle, wait=False)
        except OSError as error:
            raise RunError(f"folder {folder} is in use by another live process") from error
        yield


_LOCKS: weakref.WeakSet[IO[str]] = weakref.WeakSet()


def lock(handle: IO[str], *, wait: bool) -> None:
    """Lock an open file for this process alone, until it is closed.

    The system lets a forked child share the lock, and workers of a data loader outlive who started them by seconds:
    in children the file is closed.

    Raises:
        OSError: if another process has it, and nobody wants to wait.
    """
    _watch()
    _LOCKS.add(handle)
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@functools.cache
def _watch() -> None:
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for handle in list(_LOCKS):
        handle.close()
