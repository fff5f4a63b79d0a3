"""The run of a training: epochs, steps, records and checkpoints."""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mentorch import _processes
from mentorch._errors import RunError, UsageError
from mentorch.gates import progress_at
from mentorch.training import _checkpoint, _everybody, _loggers
from mentorch.training._batches import samples_in, to_device, walk
from mentorch.training._best import judge
from mentorch.training._cache import OpenCache
from mentorch.training._callbacks import On, emit
from mentorch.training._diagnosis import agreement, diagnose
from mentorch.training._identity import check_same, hashes_of_frozen, identity
from mentorch.training._lack import named
from mentorch.training._optimizers import clip
from mentorch.training._training import Monitor, Sums, Training
from mentorch.training._weights import all_finite, update_average, whole


@dataclass
class Loop:
    """One run: epochs, steps, records and checkpoints."""

    training: Training
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]
    backward: Callable[[Tensor], None]
    fabric: Any
    scaler: Any
    train: Any
    evaluate: Any
    monitor: Monitor
    patience: int | None
    clip_norm: float | None
    clip_value: float | None
    ema: float | None
    callbacks: tuple[On, ...]
    run: Path | None
    checkpoint_every: int | None
    checkpoint_seconds: float
    log_every: int
    cache: OpenCache | None = None
    turns: tuple[str, ...] = ()
    diagnose: int | None = None
    validation: Any = None
    loggers: list[_loggers.Logger] = field(default_factory=list)
    bar: _loggers.Bar | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    random: dict[str, Any] | None = None
    since: float = 0.0
    waited: float = 0.0
    scaled: bool = False
    together: bool = False
    saved: float = field(default_factory=time.monotonic)

    def restore(self, resume: bool | Literal["previous"]) -> None:
        """Load the run folder's checkpoint, if asked to and if there is one."""
        self.together = self.fabric.world_size > 1
        self.identity = self._identity()
        if self.run is None:
            return
        folder = self.run / "checkpoints"
        if not _checkpoint.steps(folder) and resume != "previous":
            return
        if not resume:
            raise UsageError(f"{self.run} already holds a run: resume=True goes on with it, or choose another folder")
        state = _checkpoint.load(folder, "previous" if resume == "previous" else "last")
        check_same(state.get("identity", {}), self.identity, str(self.run))
        try:
            self.training.load(state, self.scaler)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            what = " ".join(str(error).split())
            raise RunError(f"{self.run} holds another run: its checkpoint does not fit this one ({what})") from error
        if self.fabric.is_global_zero:
            _checkpoint.tidy(folder)  # whoever wrote the last one may have been killed before it did
        self.random = state["random"]
        if self.together or "others" in state:
            parts = [state, *state.get("others", ())]
            self.random = _everybody.take_part(self.training, parts, self.fabric.global_rank, self.fabric.world_size)

    def _identity(self) -> dict[str, Any]:
        """What must agree between a checkpoint and the run that goes on from it."""
        return identity(
            self.training,
            self.train,
            self.validation,
            world=self.fabric.world_size,
            recorded=self.run is not None,
            ema=self.ema,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            precision=self.fabric.strategy.precision.precision,
            monitor=self.monitor,
            cache=self.cache and self.cache.rounding,
            turns=self.turns,
        )

    def go(self) -> None:
        """Train until the end."""
        training = self.training
        with named(self._where):
            try:
                emit(self.callbacks, "start", 1, training)
                if self.together:
                    _everybody.begin(training, self.fabric.global_rank)
                if self.random is not None:
                    _checkpoint.set_random_state(self.random, training.generators)
                while training.epoch <= training.epochs and not training.history.stopped:
                    self._epoch()
                now = hashes_of_frozen(training.graph, all_of_it=self.run is not None)
                for name, before in self.identity["frozen"].items():
                    if now[name] != before:
                        raise RunError(f"frozen node {name!r} changed during training")
                if self.together:
                    _everybody.end(training, self.fabric.device)
            except Exception:
                emit(self.callbacks, "error", 1, training)
                raise
            emit(self.callbacks, "end", 1, training)

    def _epoch(self) -> None:
        training = self.training
        self.since, self.waited = time.perf_counter(), 0.0
        training.graph.train()
        batch = None
        for batch in self._timed(self._batches()):
            if self._step(batch):
                self._after_step()
        if training.batch != training.steps_per_epoch:
            raise RunError(
                f"train gave {training.batch} batches in epoch {training.epoch}, not {training.steps_per_epoch}: "
                "pass steps_per_epoch="
            )
        losses = self._read_losses()
        self._clock()
        if self.together:
            _everybody.settle(training)
        self._record(losses, batch)
        for logger in self.loggers:
            logger.epoch(training.history)
        emit(self.callbacks, "epoch", training.epoch, training)
        training.epoch, training.batch, training.samples, training.sums = training.epoch + 1, 0, 0, Sums()
        over = training.epoch > training.epochs or training.history.stopped or self.interrupted.is_set()
        due = over or time.monotonic() - self.saved >= self.checkpoint_seconds
        if self.fabric.broadcast(due) if self.together else due:  # clocks differ
            self._save()
        if self.interrupted.is_set():
            self._stop()

    def _timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; how long the loop waits for them is counted."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _clock(self) -> None:
        """Count the time since the last call; validation is not counted."""
        now = time.perf_counter()
        self.training.seconds, self.since = self.training.seconds + now - self.since, now

    def _batches(self) -> Iterator[Any]:
        training, rank, world = self.training, self.fabric.global_rank, self.fabric.world_size
        walk_from_here = functools.partial(
            walk, self.train, training.epoch - 1, training.batch, training.steps_per_epoch, rank, world
        )
        if hasattr(self.train, "iterate"):
            return walk_from_here()
        if not training.batch:
            training.epoch_random = _checkpoint.random_state(training.generators)
            return walk_from_here()
        # the order of foreign data may come from any generator: replay it from the start of the epoch
        with _checkpoint.undisturbed(training.generators):
            _checkpoint.set_random_state(training.epoch_random, training.generators)
            return walk_from_here()

    def _step(self, batch: Any) -> bool:
        """One batch; whether it completed an optimiser step."""
        training = self.training
        steering, gathered = training.steering, training.batch % training.accumulate
        if not gathered:
            steering.set_rates(training.progress)
            for optimizer in steering.optimizers.values():
                optimizer.zero_grad(set_to_none=True)
        on_device = to_device(batch, self.fabric.device)
        given = self._given(batch, on_device, training.progress)
        size = samples_in(batch)
        if not self.turns:
            self._descend(on_device, gathered, size, **given)
        for name in self.turns:
            self._descend(on_device, gathered, size, only=(name,), **given)
            self._average((name,))
            self._update(steering.optimizers[name])
        training.batch += 1
        training.samples += size
        training.history.samples += size * self.fabric.world_size
        if training.batch % training.accumulate and training.batch != training.steps_per_epoch:
            return False
        if not self.turns:
            self._average(name for name, learns in training.graph.runs(training.progress).items() if learns)
            for optimizer in steering.optimizers.values():
                self._update(optimizer)
        if self.scaler is not None and self.scaled:
            self.scaler.update()
            self.scaled = False
        for name, average in training.averages.items():
            update_average(average, training.graph.nodes[name], float(self.ema or 0.0))
        training.step += 1
        return True

    def _descend(self, on_device: Any, gathered: int, size: int, **options: Any) -> None:
        """Losses of a batch of ``size`` samples, and their gradients."""
        training = self.training
        with self.autocast():
            losses: dict[str, Tensor] = training.graph(*on_device, progress=training.progress, **options)
        if not losses:
            return
        together = torch.stack(list(losses.values()))
        total = together.sum()
        group = min(training.accumulate, training.steps_per_epoch - (training.batch - gathered))
        self.backward(total / group if group > 1 else total)
        training.sums.add(tuple(losses), together.detach() * size)
        for name, learned in training.graph.runs(training.progress, **options).items():
            training.history.ran(name, size * self.fabric.world_size, learned=learned)

    def _given(self, batch: Any, on_device: Any, progress: float) -> dict[str, Any]:
        if self.cache is None:
            return {}
        # the index from where the data are: rows are looked up there, and nothing waits for the device
        with self.autocast():
            epoch = self.training.epoch - 1
            given = self.cache.given(on_device.inputs, batch.index, epoch=epoch, progress=progress)
        for name, samples in self.cache.ran().items():
            self.training.history.ran(name, samples * self.fabric.world_size)
        return {"given": given}

    def _average(self, names: Iterable[str]) -> None:
        """The gradients of some nodes are those of all processes; what nobody teaches now is not sent."""
        if self.together:
            of_nodes = (parameter for name in names for parameter in self.training.graph.parameters_of(name))
            _processes.average({id(parameter): parameter for parameter in of_nodes}.values())

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimiser's step, if there is anything to do."""
        if self.clip_norm is not None or self.clip_value is not None or self.scaler is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if not parameters:
                return
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            clip(parameters, self.clip_norm, self.clip_value)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaled = True
        else:
            optimizer.step()

    def _after_step(self) -> None:
        training = self.training
        if self.bar is not None:
            self.bar.advance((training.epoch - 1) * training.steps_per_epoch + training.batch, training.history.samples)
        if training.step % self.log_every == 0:
            losses = self._read_losses()
            for logger in self.loggers:
                logger.interval(training.step, losses)
        emit(self.callbacks, "step", training.step, training)
        if training.batch == training.steps_per_epoch:
            return  # the end of the epoch does the rest
        interrupted = self.interrupted.is_set()
        if self.run is not None and (
            interrupted or (self.checkpoint_every and training.step % self.checkpoint_every == 0)
        ):
            self._read_losses()
            self._clock()
            self._save()
        if interrupted:
            self._stop()

    def _stop(self) -> None:
        where = f"after step {self.training.step} of {self.training.steps}"
        raise KeyboardInterrupt(f"stopped {where}" + ("; resume=True goes on here" if self.run else ""))

    def _read_losses(self) -> dict[str, float]:
        """Mean losses of the epoch so far, over all processes: the one place that waits for the device.

        Raises:
            RunError: if one is not finite, or a weight is not: such a state must never become a checkpoint.
        """
        training = self.training
        found = training.sums.by_name()
        if not found:
            return {}
        sums, names = torch.stack(list(found.values())).double(), training.graph.learning
        broken = [not all_finite(training.graph.parameters_of(name)) for name in names]  # all must know
        sums = self.fabric.all_reduce(torch.cat([sums, sums.new_tensor([*broken, training.samples])]), reduce_op="sum")
        *totals, samples = sums.tolist()
        means = {name: total / max(samples, 1.0) for name, total in zip(found, totals, strict=False)}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise self._diverged(f"the loss of edge {' and '.join(map(repr, bad))}")
        for name, count in zip(names, totals[len(found) :], strict=True):
            if count:
                raise self._diverged(f"a weight of node {name!r}, or of an adapter of its edges,")
        return means

    def _diverged(self, what: str) -> RunError:
        return RunError(
            f"{what} became NaN or infinite in epoch {self.training.epoch}, at or before step {self.training.step}"
            f"{self._kept()}. A lower learning rate or clip_norm= may help"
        )

    def _where(self) -> str:
        training = self.training
        return f"in epoch {training.epoch}, after step {training.step} of {training.steps}{self._kept()}"

    def _kept(self) -> str:
        """What a run that ends here leaves."""
        have = _checkpoint.steps(self.run / "checkpoints") if self.run is not None else []
        return f"; the checkpoint of step {have[-1]} is from before" if have else ""

    def _record(self, losses: dict[str, float], batch: Any) -> None:
        training, history = self.training, self.training.history
        record: dict[str, Any] = {
            "epoch": training.epoch,
            "step": training.step,
            "progress": training.step / training.steps,
            "seconds": round(training.seconds, 3),
            "train": {"loss": sum(losses.values()), "edges": losses},
            "lr": training.steering.rates(),
        }
        score = None
        if self.evaluate is not None:
            with _checkpoint.undisturbed(training.generators), self.fabric.autocast():
                # one process decides for all: running statistics differ between processes
                record["validation"] = self.fabric.broadcast(self.evaluate(networks=training.averages))
            score = judge(training, self.monitor, record["validation"])
        if self.diagnose and ((training.epoch - 1) % self.diagnose == 0 or training.epoch == training.epochs):
            record["diagnosis"] = self._diagnose(batch)
        training.steering.end_epoch(score)
        history.records.append(record)
        early = training.epoch < training.epochs and not history.stopped
        if early and self.patience is not None and training.bad_epochs >= self.patience:
            history.stopped = f"no improvement of {self.monitor.metric} in {self.patience} epochs"

    def _diagnose(self, batch: Any) -> dict[str, Any]:
        """A closer look at the last batch of the epoch, and at the first validation samples."""
        training = self.training
        on_device, progress = to_device(batch, self.fabric.device), progress_at(training.step - 1, training.steps)
        with _checkpoint.undisturbed(training.generators), self.autocast():
            given = self._given(batch, on_device, progress)
            found = diagnose(training.graph, *on_device, progress=progress, **given)
            if self.validation is not None:
                found["pairs"] = agreement(training.graph, self.validation, networks=training.averages)
        found["seconds"]["data"] = self.waited / training.steps_per_epoch
        return found

    def _save(self) -> None:
        training = self.training
        if self.run is None:
            return
        training.checkpoints += 1
        others: dict[str, Any] = {}
        if self.together:
            _everybody.settle(training)
            others = {"others": _everybody.of_all(training.own(), self.fabric.device)[1:]}
        self.saved = time.monotonic()
        state = {**whole(training.state(self.scaler)), **others, "identity": self.identity}
        if not self.fabric.is_global_zero:
            return
        step = (training.epoch - 1) * training.steps_per_epoch + training.batch
        _checkpoint.save(self.run / "checkpoints", step, state)
        emit(self.callbacks, "checkpoint", training.checkpoints, training)
