"""Putting networks into a zoo."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mentorch._errors import UsageError
from mentorch._files import write_atomic, write_json
from mentorch.zoo._card import Card, to_json
from mentorch.zoo._entries import entries
from mentorch.zoo._store import CARD, WEIGHTS, _check_json, load


def add(folder: str | Path, zoo: str | Path, *, trust: bool = False, **facts: Any) -> Path:
    """Copy a stored network, such as a node of a run folder, into a zoo; its weights are verified before.

    Args:
        folder: a network with its card.
        zoo: a folder, made if it is not there.
        trust: see :func:`mentorch.zoo.load`.
        facts: fields of the card that are to be other in the zoo: ``name``, ``licence``, ``url``, ``dataset``, ...

    Returns:
        Where it is now: a folder of its name.

    Raises:
        UsageError: if the zoo has a network of that name, or a fact is none that a card can hold.
        RunError: if the network is damaged, or the zoo cannot be written.
    """
    folder = Path(folder)
    _, card = load(folder, trust=trust)
    _check_json(card := changed(card, facts))
    target = place(card.name, zoo)
    write_atomic(target / WEIGHTS, lambda path: _copy(folder / WEIGHTS, path))
    write_json(target / CARD, to_json(card))
    return target


def place(name: str, zoo: str | Path) -> Path:
    """The folder that a network of this name will have in a zoo.

    Raises:
        UsageError: if there is one of that name, or in that folder.

    >>> place("run-1/dkd seed 0", "zoo")
    PosixPath('zoo/run-1-dkd-seed-0')
    """
    zoo = Path(zoo)
    folder = zoo / "".join(c if c.isalnum() or c in "._+" else "-" for c in name).strip(".-")
    if folder == zoo:
        raise UsageError(f"name {name!r} has no letter or digit that a folder could be called by")
    taken = {entry.name: entry.folder for entry in entries(zoo)} if zoo.is_dir() else {}
    if name in taken or folder.exists():
        raise UsageError(f"{zoo} has a network called {name!r} in {taken.get(name, folder)}: choose another name")
    return folder


def changed(card: Card, facts: Mapping[str, Any]) -> Card:
    """The card with other facts.

    Raises:
        UsageError: for a field that cards do not have, or one that its weights decide.
    """
    fixed = {"network", "arguments", "structure", "hash"}
    known = {item.name for item in dataclasses.fields(card)} - fixed
    if wrong := sorted(facts.keys() - known):
        raise UsageError(f"a card cannot be given another {wrong[0]!r}: it can be {', '.join(sorted(known))}")
    return dataclasses.replace(card, **facts)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
