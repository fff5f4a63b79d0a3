"""One optimiser for all nodes, or one each; learning rates as functions of progress."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mentorch._errors import UsageError, unknown
from mentorch._graph import Graph
from mentorch.gates import Gate
from mentorch.training._weights import is_part, part, whole

MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]
OneOrEach = Optimizer | MakeOptimizer | Mapping[str, Optimizer | MakeOptimizer]


@dataclass(frozen=True)
class Plateau:
    """Multiply the learning rate by ``factor`` after ``patience`` epochs without improvement of the monitored metric.

    Args:
        factor: below 1; the rate is never lowered below ``minimum``.
        patience: epochs without improvement that are tolerated; the rate falls after the next one.
        minimum: lower bound of the learning rate.
        min_delta: how much counts as an improvement.
    """

    factor: float = 0.1
    patience: int = 8
    minimum: float = 1e-8
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1 or self.patience < 0:
            raise UsageError(f"Plateau needs 0 < factor < 1 and patience >= 0, got {self.factor} and {self.patience}")


Schedule = Gate | Plateau | LRScheduler | Sequence[Gate | Plateau | LRScheduler]


class Steering:
    """The optimisers of a run with their schedules, under the name of the node that each trains (``all`` for one)."""

    def __init__(self, graph: Graph, optimizer: OneOrEach, schedule: Schedule | Mapping[str, Schedule] | None):
        self.optimizers = _make(graph, optimizer)
        _check_covered(graph, self.optimizers)
        _check_closures(self.optimizers)
        per_name = schedule if isinstance(schedule, Mapping) else dict.fromkeys(self.optimizers, schedule)
        for name in per_name:
            if name not in self.optimizers:
                raise unknown("optimiser in schedule", name, self.optimizers)
        self.schedules = {name: _as_list(per_name.get(name), each) for name, each in self.optimizers.items()}
        self.plateaus = {
            name: [_PlateauState(s) for s in all_ if isinstance(s, Plateau)] for name, all_ in self.schedules.items()
        }
        self.base = {name: self._base(name) for name in self.optimizers}

    def _base(self, name: str) -> list[Any]:
        """The rate of each group before any schedule; a torch scheduler has written it down."""
        key = "initial_lr" if any(isinstance(s, LRScheduler) for s in self.schedules[name]) else "lr"
        return [group[key] for group in self.optimizers[name].param_groups]

    def _scaled(self, name: str) -> bool:
        """Whether gates or plateaus set an optimiser's rate."""
        return any(not isinstance(schedule, LRScheduler) for schedule in self.schedules[name])

    def put_back(self) -> None:
        """Give the optimisers the rates that they had, where gates or plateaus changed them."""
        for name, optimizer in self.optimizers.items():
            if self._scaled(name):
                for group, rate in zip(optimizer.param_groups, self.base[name], strict=True):
                    group["lr"] = rate

    def set_rates(self, progress: float) -> None:
        """Set every learning rate for the coming step."""
        for name, optimizer in self.optimizers.items():
            if not self._scaled(name):
                continue
            gates = [s for s in self.schedules[name] if not isinstance(s, Plateau | LRScheduler)]
            plateaus = self.plateaus[name]
            factor = functools.reduce(lambda product, gate: product * gate(progress), gates, 1.0)
            for group, base in zip(optimizer.param_groups, self.base[name], strict=True):
                rate = base * factor
                for plateau in plateaus:
                    rate = max(rate * plateau.factor, min(plateau.rule.minimum, rate))
                group["lr"] = rate

    def rates(self) -> dict[str, float]:
        """The current learning rate of each optimiser (of its first group)."""
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in self.optimizers.items()}

    def end_epoch(self, score: float | None) -> None:
        """Tell the schedules that an epoch is over; ``score`` is the monitored metric, higher is better."""
        for name, schedules in self.schedules.items():
            for plateau in self.plateaus[name]:
                plateau.see(score)
            for schedule in schedules:
                if isinstance(schedule, LRScheduler):
                    schedule.step()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly here."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "plateaus": {name: [vars_of(p) for p in all_] for name, all_ in self.plateaus.items()},
            "schedulers": {
                n: [s.state_dict() for s in all_ if isinstance(s, LRScheduler)] for n, all_ in self.schedules.items()
            },
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(_parts(state["optimizers"][name], optimizer))
            for plateau, saved in zip(self.plateaus[name], state["plateaus"][name], strict=True):
                plateau.factor, plateau.best, plateau.bad = saved["factor"], saved["best"], saved["bad"]
            own = [s for s in self.schedules[name] if isinstance(s, LRScheduler)]
            for scheduler, saved in zip(own, state["schedulers"][name], strict=True):
                scheduler.load_state_dict(saved)


def _parts(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser's state as its parameters are: of what is sharded the own part."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    held = dict(zip(numbers, parameters, strict=True))
    own = {
        number: {k: part(v, held[number]) if isinstance(v, Tensor) else v for k, v in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": own}


class _PlateauState:
    def __init__(self, rule: Plateau):
        self.rule, self.factor, self.best, self.bad = rule, 1.0, -float("inf"), 0

    def see(self, score: float | None) -> None:
        if score is None:
            return
        if score > self.best + self.rule.min_delta:
            self.best, self.bad = score, 0
            return
        self.bad += 1
        if self.bad > self.rule.patience:
            self.factor, self.bad = self.factor * self.rule.factor, 0


def vars_of(plateau: _PlateauState) -> dict[str, float]:
    """A plateau's state as plain numbers."""
    return {"factor": plateau.factor, "best": plateau.best, "bad": plateau.bad}


def _as_list(schedule: Schedule | None, optimizer: Optimizer) -> list[Any]:
    if schedule is None:
        return []
    each = list(schedule) if isinstance(schedule, Sequence) and not isinstance(schedule, str) else [schedule]
    for one in each:
        if isinstance(one, ReduceLROnPlateau):
            raise UsageError("pass mentorch.training.Plateau instead of torch's ReduceLROnPlateau")
        if not (callable(one) or isinstance(one, Plateau | LRScheduler)):
            raise UsageError(f"a schedule is a function of progress, a Plateau or a torch scheduler, got {one!r}")
        if isinstance(one, LRScheduler):
            _check_torch(one, each, optimizer)
    return each


def _check_torch(scheduler: LRScheduler, each: Sequence[Any], optimizer: Optimizer) -> None:
    name = type(scheduler).__name__
    if scheduler.optimizer is not optimizer:
        raise UsageError(f"the schedule {name} was made for another optimiser: pass a mapping, name -> schedule")
    if not all(isinstance(one, LRScheduler) for one in each):
        raise UsageError(f"{name} sets the learning rate itself: it does not go together with gates or a Plateau")


def _make(graph: Graph, optimizer: OneOrEach) -> dict[str, Optimizer]:
    for name in graph.learning:
        if next(graph.parameters_of(name), None) is None:
            raise UsageError(f"node {name!r} is taught, but has no weights that may learn (requires_grad)")
    if not isinstance(optimizer, Mapping):
        shared = {id(p): p for name in graph.learning for p in graph.parameters_of(name)}
        return {"all": optimizer if isinstance(optimizer, Optimizer) else optimizer(list(shared.values()))}
    for name in optimizer:
        if name not in graph.learning:
            raise unknown("learning node in optimizer", name, graph.learning)
    for name in graph.learning:
        if name not in optimizer:
            raise UsageError(f"node {name!r} learns but has no optimiser (have: {', '.join(optimizer)})")
    return {
        name: each if isinstance(each, Optimizer) else each(list(graph.parameters_of(name)))
        for name, each in optimizer.items()
    }


def _check_covered(graph: Graph, optimizers: Mapping[str, Optimizer]) -> None:
    """Every weight that learns has an optimiser, and only one.

    Raises:
        UsageError: naming the node whose weights, or whose edges' adapters, nobody trains.
    """
    held = [id(p) for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    covered = set(held)
    if len(held) != len(covered):
        raise UsageError("a parameter is in two optimisers")
    for name in graph.learning:
        if any(id(p) not in covered for p in graph.parameters_of(name)):
            raise UsageError(
                f"weights of node {name!r}, or adapters of its edges, are in no optimiser: give the graph an example= "
                "before making the optimiser, or pass a factory such as functools.partial(SGD, lr=0.1)"
            )


def _check_closures(optimizers: Mapping[str, Optimizer]) -> None:
    for optimizer in optimizers.values():
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            kind = type(optimizer).__name__
            raise UsageError(f"{kind} computes the loss anew within a step, which fit does not do: take another one")


def _clip_norm(parameters: Sequence[nn.Parameter], norm: float) -> None:
    kinds = [[p for p in parameters if is_part(p) is sharded] for sharded in (False, True)]
    if not all(kinds):
        torch.nn.utils.clip_grad_norm_(parameters, norm)
        return
    # torch does not mix what is sharded with what is not
    each = [whole(torch.nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    factor = float((norm / (torch.stack(each).norm() + 1e-6)).clamp(max=1.0))
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def clip(parameters: Sequence[nn.Parameter], norm: float | None, value: float | None) -> None:
    """Limit gradients by their total norm, or each element by a value.

    Raises:
        UsageError: for gradients that are sparse.
    """
    try:
        if norm is not None:
            _clip_norm(list(parameters), norm)
        if value is not None:
            torch.nn.utils.clip_grad_value_(parameters, value)
    except NotImplementedError as error:
        if not any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            raise
        raise UsageError("sparse gradients cannot be clipped: make embeddings with sparse=False") from error
