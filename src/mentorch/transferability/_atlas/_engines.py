"""Who embeds the networks: this process, several, or a cluster. None of them writes anything but this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from mentorch import zoo

Work = Callable[[zoo.Entry], tuple[Tensor, Tensor]]
Outcome = tuple[Tensor, Tensor] | str
"""An embedding, or why there is none."""
Engine = Callable[[Work, Iterable[zoo.Entry]], Iterator[tuple[zoo.Entry, Outcome]]]
TRIES = 3
"""How often a network may lose its worker, which may have been killed by somebody else."""
DIED = f"its worker died, {TRIES} times: out of memory, or code that brings a process down"


def here(work: Work, entries: Iterable[zoo.Entry]) -> Iterator[tuple[zoo.Entry, Outcome]]:
    """One network after the other, in this process."""
    for entry in entries:
        yield entry, attempt(work, entry)


def attempt(work: Work, entry: zoo.Entry) -> Outcome:
    """The embedding, or the reason why there is none: whatever goes wrong with a network is about that network."""
    try:
        return work(entry)
    except Exception as error:
        return zoo.reason(error)


def arrays(outcome: Outcome) -> Any:
    """What can be sent without shared memory, which would go with its process."""
    return outcome if isinstance(outcome, str) else tuple(part.cpu().numpy() for part in outcome)


def tensors(sent: Any) -> Outcome:
    if isinstance(sent, str):
        return sent
    nodes, edges = (torch.tensor(part) for part in sent)
    return nodes, edges
