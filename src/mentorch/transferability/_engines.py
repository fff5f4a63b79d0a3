"""Who looks at the networks of a zoo: this process, several, or a cluster. None of them writes anything."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from mentorch import zoo

Work = Callable[[zoo.Entry], Any]
"""What is done to a network: an embedding, or a row of a ranking, comes of it; never a text."""
Outcome = Any
"""What came of it, or a text: why nothing did."""
Engine = Callable[[Work, Iterable[zoo.Entry]], Iterator[tuple[zoo.Entry, Outcome]]]
"""Each entry once, with what came of it, in any order."""
TRIES = 3
"""How often a network may lose its worker, which may have been killed by somebody else."""
DIED = f"its worker died, {TRIES} times: out of memory, or code that brings a process down"


def here(work: Work, entries: Iterable[zoo.Entry]) -> Iterator[tuple[zoo.Entry, Outcome]]:
    """One network after the other, in this process."""
    for entry in entries:
        yield entry, attempt(work, entry)


def attempt(work: Work, entry: zoo.Entry) -> Outcome:
    """What comes of it, or the reason why nothing does: whatever goes wrong with a network is about that network."""
    try:
        return work(entry)
    except Exception as error:
        return zoo.reason(error)


def arrays(outcome: Outcome) -> Any:
    """What can be sent without shared memory, which would go with its process: tensors as arrays."""
    return tuple(part.cpu().numpy() for part in outcome) if isinstance(outcome, tuple) else outcome


def tensors(sent: Any) -> Outcome:
    """Back again."""
    return tuple(torch.tensor(part) for part in sent) if isinstance(sent, tuple) else sent
