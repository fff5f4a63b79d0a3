"""Rows of a ranking on disk, as they come: one that is interrupted goes on with the networks that are left."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mentorch._files import append_text, seal, sha256, unseal, write_text
from mentorch.transferability import Row
from mentorch.zoo import Entry


class Rows:
    """``rows.jsonl``: a row a line, with its own hash and that of what it follows from.

    Args:
        path: the file.
        entries: the networks that are ranked; a row is of use as long as the card says what it said.
        target: what else the numbers follow from, beside the recipe: the data, and the reference.
    """

    def __init__(self, path: Path, entries: Iterable[Entry], target: Any) -> None:
        self.path = path
        told = json.dumps(target)
        self._sources = {
            str(entry.folder): hashlib.sha256((sha256(entry.folder / "card.json") + told).encode()).hexdigest()
            for entry in entries
            if not entry.failure
        }

    def read(self) -> dict[Path, Row]:
        """Rows that are still right, by folder; others, and half a line of a process that was killed, are dropped."""
        found: dict[Path, Row] = {}
        kept = []
        for line in self.path.read_text("utf-8", "replace").splitlines(keepends=True) if self.path.exists() else ():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                told = unseal(line)
                row = told["row"]
                if self._sources.get(row["folder"]) == told["from"]:
                    found[Path(row["folder"])] = Row(**row | {"warnings": tuple(row["warnings"])})
                    kept.append(line)
        write_text(self.path, "".join(kept))
        return found

    def add(self, row: Row) -> None:
        """Keep a row, but of no failure: that network is tried again."""
        if not row.failure:
            append_text(self.path, seal({"from": self._sources[row.folder], "row": asdict(row)}))
