"""What the generations of one folder have in common: how they forget, and which part each of them kept."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mentorch import _processes
from mentorch._errors import RunError
from mentorch._files import read_sealed, write_sealed
from mentorch.methods._structural._in_turn import place
from mentorch.networks import hash_tensors
from mentorch.structure import Split
from mentorch.training._checkpoint import steps
from mentorch.training._identity import check_same

FILE = "evolution.json"


class Memory:
    """Of a folder, if there is one.

    Args:
        run: the folder.
        resume: whether its generations are gone on with.
        facts: what all of them have in common.

    Raises:
        RunError: if the folder's generations forget in another way, or nobody knows how.
    """

    def __init__(self, run: str | Path | None, resume: bool, facts: Mapping[str, Any]):
        self.path = None if run is None else Path(run) / FILE
        self.facts = dict(facts)
        self.kept: dict[str, str] = {}
        self.begun = run is not None and bool(steps(place(run, "generation", 1) / "checkpoints"))
        if self.path is None or not self.begun or not resume:
            return  # without resume fit itself refuses what has begun
        if not self.path.exists():
            raise RunError(f"{run} does not say how its generations forget, as there is no {FILE}: start anew")
        there = read_sealed(self.path)
        self.kept = there.pop("kept")
        check_same(there, self.facts, str(run))

    def begin(self) -> None:
        """Write it down before the first generation."""
        if not self.begun:
            self._write()

    def keep(self, number: int, part: Split) -> None:
        """What is kept of a generation.

        Raises:
            RunError: if it was something else when it was trained.
        """
        own = digest(part)
        if (before := self.kept.setdefault(str(number), own)) != own:
            raise RunError(
                f"{self.path} holds another run: generation {number} kept {before[:12]} there and {own[:12]} here"
            )
        self._write()

    def _write(self) -> None:
        if self.path is not None and not _processes.rank():
            write_sealed(self.path, {**self.facts, "kept": self.kept})


def digest(part: Split) -> str:
    """A hash of what a split keeps."""
    if part.by_channels:
        return hashlib.sha256(json.dumps(part.recipe(), sort_keys=True).encode()).hexdigest()
    return hash_tensors({name: part.mask(name) for name in part.plan.layers})
