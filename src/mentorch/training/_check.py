"""What ``fit`` refuses before anything is trained."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mentorch._errors import UsageError
from mentorch._graph import Graph
from mentorch.gates import Constant, as_gate, progress_at
from mentorch.training._batches import generators, walk
from mentorch.training._checkpoint import pack, undisturbed
from mentorch.training._evaluate import check_whole, evaluate, metrics_of
from mentorch.training._training import Monitor, Training


def check_numbers(
    epochs: int,
    accumulate: int,
    log_every: int,
    train: Iterable[Any],
    run: str | Path | None,
    resume: object,
    ema: float | None,
    clip_norm: float | None,
    clip_value: float | None,
    checkpoint_every: int | None,
    diagnose: int | None,
) -> None:
    """Refuse numbers outside their range, and iterators."""
    for name, value in {"epochs": epochs, "accumulate": accumulate, "log_every": log_every}.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    for name, limit in {"clip_norm": clip_norm, "clip_value": clip_value}.items():
        if limit is not None and limit <= 0:
            raise UsageError(f"{name} must be positive, got {limit}")
    if ema is not None and not 0 < ema < 1:
        raise UsageError(f"ema is a decay between 0 and 1, got {ema}")
    for name, every in {"checkpoint_every": checkpoint_every, "diagnose": diagnose}.items():
        if every is not None and every < 1:
            raise UsageError(f"{name} must be at least 1, got {every}")
    if isinstance(train, Iterator):
        raise UsageError("train is an iterator and would be used up after one epoch: pass what it iterates over")
    if run is None and (resume or checkpoint_every):
        raise UsageError("resume and checkpoint_every need a run folder: pass run=")


def check_choices(
    select: str,
    update: str,
    patience: int | None,
    validation: Iterable[Any] | None,
    resume: object,
    accumulate: int,
) -> None:
    """Refuse choices that do not exist, or need what is not there."""
    if select not in ("last", "best"):
        raise UsageError(f"select is 'last' or 'best', got {select!r}")
    if update not in ("simultaneous", "alternating"):
        raise UsageError(f"update is 'simultaneous' or 'alternating', got {update!r}")
    if update == "alternating" and accumulate > 1:
        raise UsageError("alternating updates exclude accumulate: a node would learn from others' half-finished steps")
    if resume not in (True, False, "previous"):
        raise UsageError(f"resume is True, False or 'previous', got {resume!r}")
    if patience is not None and patience < 1:
        raise UsageError(f"patience must be at least 1, got {patience}")
    for name, wanted in {"select='best'": select == "best", "patience": patience is not None}.items():
        if wanted and validation is None:
            raise UsageError(f"{name} needs validation data: pass validation=")


def check_validation(graph: Graph, validation: Iterable[Any], metrics: Mapping[str, Any] | None, to: Monitor) -> None:
    """Refuse validation data that would be used up, and a metric or a node that nobody measures."""
    if isinstance(validation, Iterator):
        raise UsageError("validation is an iterator and would be used up after one epoch: pass what it iterates over")
    check_whole(validation)
    if to.node not in ("", "*", *graph.learning):
        raise UsageError(f"monitor: {to.node!r} is no learning node (known: {', '.join(graph.learning)})")
    for name in to.nodes(graph):
        known = metrics_of(name, metrics, graph)
        if to.metric not in known:
            raise UsageError(f"monitor: no metric {to.metric!r} of {name!r} (known: {', '.join(known)}): pass monitor=")


def try_metrics(graph: Graph, validation: Iterable[Any], metrics: Mapping[str, Any] | None) -> None:
    """Measure one batch, as an epoch of training is too long to wait for a metric that cannot work; nothing is changed.

    Raises:
        UsageError: for data that gives nothing or has no labels, and for metrics that do not fit it.
    """
    with undisturbed(generators(validation)):
        evaluate(graph, walk(validation, 0, 0, 1), metrics=metrics)


def check_written(training: Training) -> None:
    """Refuse options of optimisers that no checkpoint can hold."""
    for optimizer in training.steering.optimizers.values():
        for option, value in ((o, v) for group in optimizer.param_groups for o, v in group.items() if o != "params"):
            try:
                pack(value, {})
            except TypeError as error:
                raise UsageError(
                    f"{option} of {type(optimizer).__name__} is {value!r}, which a checkpoint cannot hold: "
                    "pass plain numbers, or leave out run="
                ) from error


def check_strategy(strategy: Any) -> None:
    """Refuse strategies that replace modules by their own: ``fit`` averages gradients itself, whatever gates close."""
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

    if not isinstance(strategy, DDPStrategy | SingleDeviceStrategy):
        raise UsageError(
            f"fit works with one device or strategy='ddp', not with {type(strategy).__name__}: to shard a network, "
            "call torch.distributed.fsdp.fully_shard on it before the graph is made"
        )


def check_whole_nodes(parts: bool, **options: object) -> None:
    """Refuse what needs a whole network in each process, where one is sharded."""
    for name, value in options.items():
        if parts and value is not None:
            raise UsageError(f"{name} needs whole networks, and one is sharded (fully_shard): leave it out")


def check_alive(training: Training) -> None:
    """Refuse gates that leave a learning node without an open edge for a whole epoch: it would only drift."""
    graph, steps = training.graph, training.steps
    for name in graph.learning:
        gates = [as_gate(edge.gate) for edge in graph.edges if graph.target_of(edge) == name]
        if any(isinstance(gate, Constant) and gate.weight for gate in gates):
            continue  # always open
        for epoch in range(training.epochs):
            of_epoch = range(epoch * training.updates_per_epoch, (epoch + 1) * training.updates_per_epoch)
            if not any(gate(progress_at(step, steps)) != 0.0 for step in of_epoch for gate in gates):
                raise UsageError(
                    f"node {name!r} learns nothing in epoch {epoch + 1} of {training.epochs}: all its edges are "
                    "closed; freeze it, open one, or train in two runs"
                )
