"""What trainings that follow each other in one folder have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mentorch._errors import RunError, UsageError
from mentorch._graph import Graph
from mentorch.training import History
from mentorch.training._checkpoint import steps

Fit = Callable[..., History]
"""``fit(graph)``, with ``run=`` and ``resume=`` where there is a folder."""


def check_turns(fit: Fit, count: int, what: str, run: str | Path | None, resume: bool) -> None:
    """Raise unless so many trainings can follow each other, each with an optimiser of its own.

    Raises:
        UsageError: for fewer than one, ``resume`` without a folder, and an optimiser that was made before.
        RunError: if a training that is to go on has lost one that came before it.
    """
    if count < 1:
        raise UsageError(f"{what}s must be at least 1, got {count}")
    given = getattr(fit, "keywords", {}).get("optimizer")
    if any(isinstance(one, Optimizer) for one in (given.values() if isinstance(given, Mapping) else (given,))):
        raise UsageError(
            f"each {what} has an optimiser of its own: bind a factory such as functools.partial(SGD, lr=0.1), "
            "not an optimiser that is made already"
        )
    if not resume:
        return
    if run is None:
        raise UsageError("resume needs a run folder: pass run=")
    begun = [bool(steps(place(run, what, number) / "checkpoints")) for number in range(1, count + 1)]
    if False in begun and any(begun[begun.index(False) :]):
        raise RunError(
            f"{place(run, what, begun.index(False) + 1)} has no checkpoint, but a later {what} has: start anew"
        )


def place(run: str | Path, what: str, number: int) -> Path:
    """The run folder of one of the trainings."""
    return Path(run) / f"{what}-{number}"


def turn_options(run: str | Path | None, what: str, number: int, resume: bool) -> dict[str, Any]:
    """What ``fit`` is told about its folder."""
    return {} if run is None else {"run": place(run, what, number), "resume": resume}


def check_drawn(graph: Graph, network: nn.Module, what: str, number: int) -> Graph:
    """The graph, if ``network`` itself is in it.

    Raises:
        UsageError: if it is not.
    """
    if all(node is not network for node in graph.nodes.values()):
        raise UsageError(f"{what} {number} is not in the graph that was drawn for it: use the network, not a copy")
    return graph
