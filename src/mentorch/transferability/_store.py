"""Embeddings of many networks in one memory-mapped file."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch._files import read_json, write_json
from mentorch.transferability._embedding import Embeddings, Frame

_SCHEMA = "mentorch.embeddings/1"
_DIGEST = 32


class Store:
    """A folder with embeddings of one frame: what is in it is never computed again, what is new costs one row.

    A row of ``rows.bin`` is its key, a SHA-256 of key and content, and the numbers in float16. A row counts exactly
    when that agrees, so a process may be killed at any moment: a row that it left unfinished is not there, and is added
    again by whoever needs it. Any number of processes may add rows; they take turns by a lock that dies with its
    holder. The file is mapped, not read: the memory needed is that of the blocks in use.

    Args:
        folder: made if it is not there.
        frame: of all embeddings in it.

    Raises:
        UsageError: if the folder holds embeddings of another frame.
        RunError: if it cannot be written, or its frame is damaged.
    """

    def __init__(self, folder: Path | str, frame: Frame):
        self.folder, self.frame = Path(folder), frame
        self._path = self.folder / "rows.bin"
        self._row = 2 * _DIGEST + 2 * sum(frame.sizes)
        self._row += -self._row % 64
        self._places: dict[bytes, int] = {}
        self._seen = 0
        wanted: dict[str, Any] = {"schema": _SCHEMA, **dataclasses.asdict(frame)}
        with self._locked():
            card = self.folder / "frame.json"
            if not card.exists():
                write_json(card, wanted)
            elif (found := read_json(card)) != wanted:
                raise UsageError(f"{self.folder} holds embeddings of another frame ({_difference(found, wanted)})")

    def add(self, key: str, nodes: Tensor, edges: Tensor) -> None:
        """Append the embedding that :meth:`Frame.embed` made; one that is there already is left as it is.

        Args:
            key: from :meth:`Frame.key`.
            nodes: shape ``[n]``.
            edges: shape ``[e]``.

        Raises:
            UsageError: for other sizes than the frame's, or a key that is not a SHA-256.
            RunError: if a number is not finite in float16, or the disk is full.
        """
        if (len(nodes), len(edges)) != self.frame.sizes:
            raise UsageError(f"{self.folder}: rows have {self.frame.sizes} numbers, got {len(nodes)}, {len(edges)}")
        data = torch.cat([nodes, edges]).detach().to("cpu", torch.float16)
        if not data.isfinite().all():
            raise RunError(f"{self.folder}: the embedding is not finite in float16")
        content = data.numpy().tobytes()
        content += bytes(self._row - 2 * _DIGEST - len(content))
        name = _raw(key)
        row = name + hashlib.sha256(name + content).digest() + content
        with self._locked(), _disk(self._path), self._path.open("r+b" if self._path.exists() else "w+b") as file:
            if name in self._whole():
                return
            file.seek(self._seen * self._row)  # a row cut short is overwritten
            file.write(row)
            file.flush()
            os.fsync(file.fileno())

    def keys(self) -> tuple[str, ...]:
        """Keys of the rows that count, in the order in which they were added."""
        return tuple(name.hex() for name in self._whole())

    def __contains__(self, key: str) -> bool:
        return _raw(key) in self._whole()

    def read(self) -> Embeddings:
        """All rows that count, mapped."""
        places = list(self._whole().values())
        table = self._table(self._seen)
        if len(places) < len(table):  # a crash of the machine left a hole: only then rows are copied
            table = table[places]
        nodes, edges = self.frame.sizes
        numbers = table[:, 2 * _DIGEST : 2 * (_DIGEST + nodes + edges)].view(torch.float16)
        return Embeddings(self.keys(), numbers[:, :nodes], numbers[:, nodes:])

    def _whole(self) -> dict[bytes, int]:
        """Keys of whole rows, and where they are; each row is verified once, when it is first seen."""
        count = self._path.stat().st_size // self._row if self._path.exists() else 0
        table = self._table(count)
        for place in range(self._seen, count):
            data = table[place].numpy().tobytes()
            name, check = data[:_DIGEST], data[_DIGEST : 2 * _DIGEST]
            if check == hashlib.sha256(name + data[2 * _DIGEST :]).digest():
                self._places.setdefault(name, place)
        self._seen = count
        return self._places

    def _table(self, count: int) -> Tensor:
        if count == 0:
            return torch.empty(0, self._row, dtype=torch.uint8)
        size = count * self._row
        return torch.from_file(str(self._path), shared=False, size=size, dtype=torch.uint8).view(count, -1)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait for the folder, then hold it."""
        with _disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / ".lock").open("w")
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def _raw(key: str) -> bytes:
    try:
        name = bytes.fromhex(key)
    except ValueError:
        name = b""
    if len(name) != _DIGEST:
        raise UsageError(f"{key!r} is not the key of an embedding: take Frame.key(network)")
    return name


def _difference(found: object, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "its frame is damaged"
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    return ", ".join(f"{name} {found.get(name)!r}, not {wanted[name]!r}" for name in differ)
