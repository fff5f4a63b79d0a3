"""Rows in a memory-mapped file that tell by themselves whether they are whole."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mentorch._errors import RunError
from mentorch.data import sample_keys

CHECK = 8
"""Bytes of the check that follows each row."""


class Rows:
    """A file of ``count`` rows of ``size`` bytes, each followed by a 64-bit check of its number and its content.

    A row counts exactly when its check agrees with its bytes, and that is verified on the copy that is handed out.
    Rows that were never written (a fresh file reads as zeros), that a killed process left half written, that two
    processes wrote at once, or that a crashed machine lost, disagree: they are missing, and written again by whoever
    needs them. So writers need no lock, no order of writes and no flush. The check is a multilinear hash: a wrong row
    passes with probability 2^-32.

    Args:
        path: made with all its space reserved if it is not there; a full disk is found here, not in a later write.
        count: rows.
        size: bytes per row, a multiple of 8.

    Raises:
        RunError: if the file cannot be made.
    """

    def __init__(self, path: Path, count: int, size: int):
        total = count * (size + CHECK)
        reserve(path, total)
        self.count, self.size = count, size
        mapped = torch.from_file(str(path), shared=True, size=total, dtype=torch.uint8)
        self._table = mapped.view(count, size + CHECK)
        self._factors = sample_keys(0, 0, torch.arange(size // 4)) | 1  # odd: one changed word is always noticed

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Copies of some rows, and which of them are whole.

        Args:
            rows: row numbers, int64, shape `[N]`, on the CPU.

        Returns:
            Bytes, uint8, shape `[N, size]`, and whether each row counts, bool, shape `[N]`.
        """
        found = self._table.index_select(0, rows)
        data, check = found[:, : self.size], found[:, self.size :].view(torch.int64)[:, 0]
        return data, check == self._check(rows, data)

    def write(self, rows: Tensor, data: Tensor) -> None:
        """Put ``data``, uint8, shape `[N, size]`, into the rows with these numbers."""
        check = self._check(rows, data)[:, None].view(torch.uint8)
        self._table.index_copy_(0, rows, torch.cat([data, check], dim=1))

    def complete(self) -> bool:
        """Whether every row counts."""
        return all(bool(self.read(rows)[1].all()) for rows in self._portions())

    def load(self) -> Tensor | None:
        """All rows, shape `[count, size]`, or None unless every one counts."""
        parts = []
        for rows in self._portions():
            data, whole = self.read(rows)
            if not whole.all():
                return None
            parts.append(data)
        return torch.cat(parts)

    def _portions(self) -> Iterator[Tensor]:
        return (torch.arange(start, min(start + 4096, self.count)) for start in range(0, self.count, 4096))

    def _check(self, rows: Tensor, data: Tensor) -> Tensor:
        return (data.view(torch.int32) * self._factors).sum(dim=1) + sample_keys(1, 0, rows)


def reserve(path: Path, total: int) -> None:
    """Make a file of ``total`` bytes whose space is its own: a mapped write to a full disk would kill the process.

    Raises:
        RunError: if there is no room, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if os.fstat(file.fileno()).st_size >= total:
                return
            if hasattr(os, "posix_fallocate"):  # any number of processes may do this at once, it changes no byte
                os.posix_fallocate(file.fileno(), 0, total)
            else:
                file.truncate(total)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
