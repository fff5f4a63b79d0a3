"""The one training loop."""

import contextlib
import copy
import functools
import logging
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentorch import _processes
from mentorch._errors import UsageError
from mentorch._files import locked
from mentorch._graph import Graph
from mentorch.training import _loggers
from mentorch.training._batches import Batch, count, generators, to_device, walk
from mentorch.training._best import leave
from mentorch.training._cache import OpenCache, TeacherCache
from mentorch.training._callbacks import On
from mentorch.training._check import (
    check_alive,
    check_choices,
    check_numbers,
    check_strategy,
    check_validation,
    check_whole_nodes,
    check_written,
    try_metrics,
)
from mentorch.training._checkpoint import undisturbed
from mentorch.training._evaluate import Metric, evaluate
from mentorch.training._history import History
from mentorch.training._lack import named
from mentorch.training._loop import Loop
from mentorch.training._optimizers import OneOrEach, Schedule, Steering
from mentorch.training._training import Monitor, Training
from mentorch.training._weights import sharded


def fit(
    graph: Graph,
    train: Iterable[Any],
    *,
    optimizer: OneOrEach,
    epochs: int,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    validation: Iterable[Any] | None = None,
    metrics: Mapping[str, Metric] | Mapping[str, Mapping[str, Metric]] | None = None,
    monitor: Monitor | None = None,
    select: Literal["last", "best"] = "last",
    update: Literal["simultaneous", "alternating"] = "simultaneous",
    patience: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true",
    device: str = "auto",
    fabric: Any = None,
    compile: bool = False,  # noqa: A002 - the word of torch
    channels_last: bool = False,
    cache: TeacherCache | None = None,
    callbacks: Collection[On] = (),
    run: str | Path | None = None,
    resume: bool | Literal["previous"] = False,
    checkpoint_every: int | None = None,
    checkpoint_seconds: float = 0.0,
    tensorboard: bool = True,
    steps_per_epoch: int | None = None,
    log_every: int = 50,
    diagnose: int | None = None,
    progress: bool = True,
) -> History:
    """Train every learning node of a graph, by default all at once, from one backward pass.

    Args:
        graph: what is trained, in place. Adapters that are not built yet are built from the first batch.
        train: can be iterated once per epoch and gives ``(inputs, labels)``, ``(inputs, labels, index)`` or ``inputs``.
        optimizer: one for all, or one per learning node: an optimiser, or a factory ``parameters -> optimiser``. Its
            rate is what a schedule starts from, and is what it was again at the end, unless a torch scheduler owns it.
        epochs: passes over ``train``.
        schedule: factor on the learning rate as a function of progress (any gate), a :class:`Plateau`, a torch
            scheduler (stepped per epoch), several of these, or one of these per optimiser.
        validation: evaluated after each epoch; it draws nothing from the random streams of training.
        metrics: see :func:`evaluate`. They are tried on one batch before anything is trained.
        monitor: which validation metric decides about the best epoch; accuracy of the first learning node by default.
        select: which weights the nodes have at the end; those of the best epoch are in the history in any case.
        update: ``"alternating"`` trains the learning nodes one after the other on each batch, each from what the
            others say after their turn (algorithm 1 of arXiv 1706.00384); it costs that many forward passes, and each
            node needs an optimiser of its own.
        patience: stop after this many epochs without improvement of the monitored metric.
        clip_norm: limit of the gradient norm, per optimiser.
        clip_value: limit of each gradient element.
        accumulate: batches per optimiser step; gates and schedules advance with optimiser steps.
        ema: decay of an exponential moving average of the weights; the averaged networks are validated and kept.
        precision: of Lightning Fabric; losses are computed in float32 in any case.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        fabric: a launched ``lightning.fabric.Fabric``; replaces ``precision`` and ``device``. Without one, processes
            that ``torchrun`` started train together; see ``docs/scale.md``.
        compile: compile the whole graph with ``torch.compile``.
        channels_last: keep the weights of convolutions channels-last, in place, which makes all maps so: the same
            numbers up to rounding, and on most machines less time. See ``docs/benchmarks.md`` for what these three are
            worth.
        cache: keeps what frozen nodes show; they run only for what is not there yet. ``train`` is then
            :class:`mentorch.data.Batches`.
        callbacks: see :class:`On`.
        run: folder for checkpoints, ``metrics.jsonl``, ``history.csv`` and TensorBoard events.
        resume: go on from the folder's last checkpoint, or start if there is none; ``"previous"`` takes the last but
            one. On a CPU the result has the same bits as that of an uninterrupted run.
        checkpoint_every: also write a checkpoint after so many optimiser steps; one is written after each epoch.
        checkpoint_seconds: ... unless the last one is younger than this; where epochs are short, writing costs more
            than training. The last epoch always has one.
        tensorboard: whether ``run`` gets TensorBoard events.
        steps_per_epoch: batches per epoch, for data without a length.
        log_every: optimiser steps between readings of the losses; nothing waits for the device in between.
        diagnose: every so many epochs, and in the last, the record says what each edge asks of its node, who is right
            where, and where the time goes; see :func:`mentorch.training.diagnose` and
            :func:`mentorch.training.agreement`.
        progress: show a progress bar if this is a terminal.

    Returns:
        The history: a record per epoch, the best epoch and its weights.

    Raises:
        UsageError: for arguments that make no sense; before anything is trained.
        RunError: if a loss becomes NaN or infinite (the edge is named; the last good checkpoint stays), if the run
            folder is in use, already holds another run, or cannot be written, if a frozen node changed, and at the end
            if ``select="best"`` and no epoch was, as the monitored metric was NaN or infinite in each.
        KeyboardInterrupt: after Ctrl-C, once the step is finished and a checkpoint is written.
    """
    check_numbers(
        epochs, accumulate, log_every, train, run, resume, ema, clip_norm, clip_value, checkpoint_every, diagnose
    )
    check_choices(select, update, patience, validation, resume, accumulate)
    monitor = monitor or Monitor()
    if validation is not None:
        check_validation(graph, validation, metrics, monitor)
    fabric = fabric or _make_fabric(device, precision)
    check_strategy(fabric.strategy)
    graph.to(fabric.device)
    if channels_last:
        _lay_out(graph)
    per_epoch = count(train, steps_per_epoch, "train", fabric.world_size)
    own = generators(train)
    with undisturbed(own), fabric.autocast():
        kept = cache.open(graph, train, views=epochs) if cache is not None else None
    with undisturbed(own), named(lambda: "at the first batch, before training"):
        _build(graph, next(walk(train, 0, 0, per_epoch)), kept, fabric)
        if validation is not None:
            with fabric.autocast():
                try_metrics(graph, validation, metrics)
    training = Training(
        graph, Steering(graph, optimizer, schedule), History(), epochs, per_epoch, accumulate, generators=own
    )
    if validation is None and any(training.steering.plateaus.values()):
        raise UsageError("Plateau needs validation data: pass validation=")
    check_alive(training)
    if run is not None:
        check_written(training)
    turns = graph.learning if update == "alternating" else ()
    if missing := set(turns) - set(training.steering.optimizers):
        raise UsageError(f"alternating updates need an optimiser for each node: {', '.join(sorted(missing))} has none")
    parts = any(sharded(graph.nodes[name]) for name in graph.learning)
    check_whole_nodes(parts, ema=ema, diagnose=diagnose)
    if ema is not None:
        training.averages = {name: _copy_of(graph.nodes[name]) for name in graph.learning}
    if compile:
        graph.compile()
    alone, plain = fabric.world_size == 1, fabric.strategy.precision.precision == "32-true"
    loop = Loop(
        training=training,
        # this is for other precisions; elsewhere it only costs time in each step
        autocast=contextlib.nullcontext if plain else fabric.autocast,
        backward=Tensor.backward if plain else fabric.backward,
        fabric=fabric,
        scaler=getattr(fabric.strategy.precision, "scaler", None),
        train=train,
        evaluate=None
        if validation is None
        else functools.partial(evaluate, graph, validation, metrics=metrics, together=not (alone or parts)),
        monitor=monitor,
        patience=patience,
        clip_norm=clip_norm,
        clip_value=clip_value,
        ema=ema,
        callbacks=tuple(callbacks),
        run=Path(run) if run is not None else None,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=checkpoint_seconds,
        log_every=log_every,
        cache=kept,
        turns=turns,
        diagnose=diagnose,
        validation=validation,
    )
    writes = loop.run is not None and fabric.is_global_zero
    with contextlib.ExitStack() as stack:
        stack.callback(training.steering.put_back)
        if writes:
            stack.enter_context(locked(Path(str(run))))
        loop.restore(resume)
        names = [edge.name for edge in graph.edges]
        loop.loggers, loop.bar = stack.enter_context(
            _loggers.opened(
                loop.run if writes else None,
                tensorboard,
                progress and fabric.is_global_zero,
                history=training.history,
                epochs=epochs,
                steps=per_epoch,
                done=(training.epoch - 1) * per_epoch + training.batch,
                step=training.step,
                short=_loggers.short_names(names),
            )
        )
        if alone:  # several cannot agree on a step in time: the last checkpoint is there
            loop.interrupted = stack.enter_context(_ctrl_c())
        loop.go()
    leave(training, select, monitor)
    return training.history


def _make_fabric(device: str, precision: Literal["32-true", "16-mixed", "bf16-mixed"]) -> Any:
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise UsageError("fit needs lightning-fabric: pip install lightning-fabric") from error
    together, here, machines = _processes.started_together(), 1, 1
    if together:
        _processes.join()
        _, here = _processes.per_machine()
        machines = _processes.world() // here
    said = logging.getLogger("lightning_fabric.utilities.rank_zero")
    before, said.disabled = said.disabled, True  # it repeats the precision that it was given
    try:
        fabric = Fabric(
            accelerator=device,
            devices=here,
            num_nodes=machines,
            strategy="ddp" if together else "auto",
            precision=precision,
        )
    finally:
        said.disabled = before
    if together:
        fabric.launch()
    return fabric


@contextlib.contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Let Ctrl-C finish the step first; a second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def on_signal(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _build(graph: Graph, batch: Batch, cache: OpenCache | None, fabric: Any) -> None:
    """Try every edge on the first batch; a teacher whose outputs are kept need not run for that either."""
    on_device, given = to_device(batch, fabric.device), None
    if cache is not None and batch.index is not None:
        with fabric.autocast():
            given = cache.given(on_device.inputs, batch.index, epoch=0)
    graph.build(*on_device, given=given)


@torch.no_grad()
def _lay_out(graph: Graph) -> None:
    """Channels last, for teachers too; PyTorch's convolutions choose the layout of maps by that of the weights."""
    for parameter in graph.parameters():
        if parameter.ndim == 4:
            # contiguous() would leave a weight of one channel as it is, and with it all maps behind
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _copy_of(node: nn.Module) -> nn.Module:
    return copy.deepcopy(node).requires_grad_(False)
