"""What is missing in a store is added, and nothing else is done."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from mentorch import zoo
from mentorch._errors import RunError
from mentorch._files import read_json, write_json
from mentorch.transferability._atlas._task import Task
from mentorch.transferability._engines import Engine, here
from mentorch.transferability._store import Store
from mentorch.zoo._store import WEIGHTS

Tell = Callable[[zoo.Entry], None]
"""Told of each network when it is dealt with; its ``failure`` says whether it failed."""
_VERIFIED = "verified.json"


def fill(
    store: Store, task: Task, entries: Iterable[zoo.Entry], *, engine: Engine = here, tell: Tell | None = None
) -> list[zoo.Entry]:
    """Embed the networks that the store does not have, and verify the weights of those that it has.

    May be killed at any moment and called again, and by any number of processes at the same time. Weights that are
    known by their card are read again only if their file has changed since (by path, size and time).

    Returns:
        The entries, those that failed with their reason.
    """
    done, verified = set(store.keys()), _verified(store)
    result: list[zoo.Entry] = []
    missing: list[zoo.Entry] = []

    def finished(entry: zoo.Entry) -> None:
        result.append(entry)
        if tell is not None:
            tell(entry)

    for entry in entries:
        if entry.card is not None and not entry.failure and task.key(entry.card) not in done:
            missing.append(entry)
        else:
            known = entry.failure or verified.get(str(entry.folder)) == _stamp(entry)
            finished(entry if known else zoo.check(entry, trust=task.trust))
    for entry, outcome in engine(task, missing):
        failure = outcome if isinstance(outcome, str) else _added(store, task, entry, outcome)
        finished(replace(entry, failure=failure))
    write_json(store.folder / _VERIFIED, verified | {str(e.folder): _stamp(e) for e in result if not e.failure})
    return result


def _added(store: Store, task: Task, entry: zoo.Entry, embedding: tuple[Tensor, Tensor]) -> str:
    """Store an embedding; empty, or why it cannot be one."""
    assert entry.card is not None
    if not all(part.half().isfinite().all() for part in embedding):
        return "its embedding is not finite in float16"
    store.add(task.key(entry.card), *embedding)
    return ""


def _stamp(entry: zoo.Entry) -> list[str | int | None]:
    """What changes when the weights of an entry do."""
    facts = (entry.folder / WEIGHTS).stat()
    return [entry.hash, facts.st_size, facts.st_mtime_ns]


def _verified(store: Store) -> dict[str, list[str | int | None]]:
    try:
        found = read_json(store.folder / _VERIFIED)
    except RunError:
        return {}
    return found if isinstance(found, dict) else {}
