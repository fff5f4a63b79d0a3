"""The state of a run, as callbacks see it and as checkpoints keep it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._graph import Graph
from mentorch.gates import progress_at
from mentorch.training import _checkpoint
from mentorch.training._history import History
from mentorch.training._optimizers import Steering
from mentorch.training._weights import fill

HIGHER_IS_BETTER = {"accuracy": True, "top5": True, "cross_entropy": False, "loss": False}


@dataclass(frozen=True)
class Monitor:
    """The validation metric that decides which epoch is best, and its direction.

    Args:
        metric: name of a metric.
        node: of this node; of the first learning node if empty, of the best learning node if ``*``. NaN is worst.
        higher: whether more is better; known for accuracy and for losses, to be stated for others.
        min_delta: how much counts as an improvement, for early stopping.

    Raises:
        UsageError: if the direction is neither known nor stated.
    """

    metric: str = "accuracy"
    node: str = ""
    higher: bool | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.higher is None:
            if self.metric not in HIGHER_IS_BETTER:
                raise UsageError(f"is more {self.metric!r} better? say higher=True or higher=False")
            object.__setattr__(self, "higher", HIGHER_IS_BETTER[self.metric])

    def nodes(self, graph: Graph) -> tuple[str, ...]:
        """The nodes that may be the best one."""
        return {"*": graph.learning, "": graph.learning[:1]}.get(self.node, (self.node,))

    def score(self, value: float) -> float:
        """The value with its sign such that more is better, and NaN is worst."""
        signed = value if self.higher else -value
        return -math.inf if math.isnan(value) else signed


@dataclass
class Sums:
    """Sums of named numbers, kept on the device: one addition per step, however many names."""

    of: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Add one value per name, shape ``[len(names)]``."""
        if names in self.of:
            self.of[names].add_(values)
        else:
            self.of[names] = values

    def by_name(self) -> dict[str, Tensor]:
        """Name -> sum; a name may have been added in the company of different others."""
        found: dict[str, Tensor] = {}
        for names, values in self.of.items():
            for name, value in zip(names, values.unbind(), strict=True):
                found[name] = found[name] + value if name in found else value
        return found


@dataclass
class Training:
    """The state of a run, as callbacks see it.

    Attributes:
        graph: what is trained.
        steering: its optimisers and schedules.
        history: what happened so far.
        epoch: the current epoch, from 1.
        step: optimiser steps done.
        steps: optimiser steps in all.
    """

    graph: Graph
    steering: Steering
    history: History
    epochs: int
    steps_per_epoch: int
    accumulate: int
    epoch: int = 1
    batch: int = 0
    step: int = 0
    samples: int = 0
    bad_epochs: int = 0
    seconds: float = 0.0
    checkpoints: int = 0
    fired: list[int] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)
    averages: dict[str, nn.Module] = field(default_factory=dict)
    generators: list[torch.Generator] = field(default_factory=list)
    epoch_random: dict[str, Any] = field(default_factory=dict)

    @property
    def updates_per_epoch(self) -> int:
        """Optimiser steps in an epoch; the last one may gather fewer batches."""
        return math.ceil(self.steps_per_epoch / self.accumulate)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.updates_per_epoch * self.epochs

    @property
    def progress(self) -> float:
        """Progress of the coming step, exactly 0 at the first and exactly 1 at the last."""
        return progress_at(self.step, self.steps)

    def kept(self, name: str) -> nn.Module:
        """The network that is validated and kept under a node's name: its moving average, if there is one."""
        return self.averages.get(name, self.graph.nodes[name])

    def stop(self, why: str = "a callback asked") -> None:
        """End the run after this epoch."""
        self.history.stopped = why

    def state(self, scaler: Any) -> dict[str, Any]:
        """Everything that a resumed run needs to end with the same bits; frozen nodes are not in it."""
        return {
            "nodes": {name: self.graph.nodes[name].state_dict() for name in self.graph.learning},
            "owned": self.graph.owned.state_dict(),
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "steering": self.steering.state(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "history": vars(self.history),
            **{key: getattr(self, key) for key in _POSITION},
            **self.own(),
        }

    def own(self) -> dict[str, Any]:
        """The part of :meth:`state` in which processes that train together differ."""
        return {
            "random": _checkpoint.random_state(self.generators),
            "epoch_random": self.epoch_random,
            "sums": [[list(names), values] for names, values in self.sums.of.items()],
            "samples": self.samples,
        }

    def load(self, state: Mapping[str, Any], scaler: Any) -> None:
        """Go on from :meth:`state`."""
        for name in self.graph.learning:
            fill(self.graph.nodes[name], state["nodes"][name])
        self.graph.owned.load_state_dict(state["owned"])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        self.steering.load(state["steering"])
        if scaler is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self.take(state["sums"], state["samples"])
        self.epoch_random = state["epoch_random"]
        vars(self.history).update(state["history"])
        for key in _POSITION:
            setattr(self, key, state[key])

    def take(self, sums: Sequence[Any], samples: int) -> None:
        """Go on with these sums of an epoch, over so many samples."""
        device = next((p.device for p in self.graph.parameters()), torch.device("cpu"))
        self.sums = Sums({tuple(names): values.to(device) for names, values in sums})
        self.samples = samples


_POSITION = ("epoch", "batch", "step", "bad_epochs", "seconds", "checkpoints", "fired")
