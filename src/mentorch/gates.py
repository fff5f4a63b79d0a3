"""Gates: when an edge counts. A gate maps training progress in [0, 1] to a weight.

Every gate is a small frozen dataclass: it prints, compares, pickles and can be written to a recipe. Progress is exactly
0 at the first step and exactly 1 at the last: step ``i`` of ``n`` has progress ``i / (n - 1)``. A weight of 0 means
closed: the edge is not computed. The same values serve as learning-rate schedules (factors on the base rate).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from mentorch._errors import UsageError, unknown

Gate = Callable[[float], float]
"""Anything that maps progress in [0, 1] to a weight."""


def _check_progress(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} is a fraction of training between 0 and 1, got {value}")


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise UsageError(f"{name} must be finite, got {value}")


@dataclass(frozen=True)
class Constant:
    """The same weight all the time; 0 is the cutoff gate, 1 the through gate of arXiv 1909.04286.

    >>> Constant(0.9)(0.5)
    0.9
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_finite("weight", self.weight)

    def __call__(self, progress: float) -> float:
        return self.weight


@dataclass(frozen=True)
class Linear:
    """``start + (end - start) * progress``; the positive linear gate of arXiv 1909.04286 is ``Linear(0, 1)``.

    >>> [Linear(1.0, 0.0)(p) for p in (0.0, 0.25, 1.0)]
    [1.0, 0.75, 0.0]
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_finite("start", self.start)
        _check_finite("end", self.end)

    def __call__(self, progress: float) -> float:
        return self.start * (1.0 - progress) + self.end * progress


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``start`` to ``end``: ``end + (start - end) * (1 + cos(pi * progress)) / 2``.

    >>> [round(Cosine(1.0, 0.0)(p), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_finite("start", self.start)
        _check_finite("end", self.end)

    def __call__(self, progress: float) -> float:
        share = (1.0 + math.cos(math.pi * progress)) / 2.0  # exactly 1 at progress 0 and exactly 0 at progress 1
        return self.start * share + self.end * (1.0 - share)


@dataclass(frozen=True)
class Between:
    """``weight`` while ``start <= progress <= end``, closed otherwise.

    >>> [Between(0.25, 0.5)(p) for p in (0.0, 0.25, 0.5, 0.51)]
    [0.0, 1.0, 1.0, 0.0]
    """

    start: float
    end: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_progress("start", self.start)
        _check_progress("end", self.end)
        _check_finite("weight", self.weight)
        if self.start > self.end:
            raise UsageError(f"start must not lie after end, got {self.start} and {self.end}")

    def __call__(self, progress: float) -> float:
        return self.weight if self.start <= progress <= self.end else 0.0


@dataclass(frozen=True)
class Steps:
    """Piecewise constant: ``start``, multiplied by ``factor`` at each milestone; the multistep schedule.

    >>> gate = Steps(at=(0.5, 0.75), factor=0.5)
    >>> [gate(p) for p in (0.0, 0.5, 0.75)]
    [1.0, 0.5, 0.25]
    """

    at: tuple[float, ...]
    factor: float = 0.1
    start: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))
        for milestone in self.at:
            _check_progress("a milestone", milestone)
        _check_finite("factor", self.factor)
        _check_finite("start", self.start)

    def __call__(self, progress: float) -> float:
        return self.start * self.factor ** sum(progress >= milestone for milestone in self.at)


@dataclass(frozen=True)
class Warmup:
    """A linear rise from 0 over the first ``length`` of training, times the gate ``then``.

    >>> [Warmup(0.5)(p) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 1.0]
    """

    length: float
    then: float | Gate = 1.0

    def __post_init__(self) -> None:
        _check_progress("length", self.length)
        as_gate(self.then)

    def __call__(self, progress: float) -> float:
        rise = progress / self.length if progress < self.length else 1.0
        return rise * as_gate(self.then)(progress)


@dataclass(frozen=True)
class Decay:
    """Hyperbolic decay ``1 / (1 + rate * progress)``; as a schedule, Keras' time-based learning-rate decay.

    >>> Decay(1.0)(1.0)
    0.5
    """

    rate: float

    def __post_init__(self) -> None:
        _check_finite("rate", self.rate)
        if self.rate < 0:
            raise UsageError(f"rate must not be negative, got {self.rate}")

    def __call__(self, progress: float) -> float:
        return 1.0 / (1.0 + self.rate * progress)


@dataclass(frozen=True)
class Scaled:
    """Another gate times ``factor``.

    >>> Scaled(0.5, Linear(0.0, 1.0))(0.5)
    0.25
    """

    factor: float
    then: float | Gate = 1.0

    def __post_init__(self) -> None:
        _check_finite("factor", self.factor)
        as_gate(self.then)

    def __call__(self, progress: float) -> float:
        return self.factor * as_gate(self.then)(progress)


@dataclass(frozen=True)
class PerEpoch:
    """Another gate that moves once per epoch: epoch ``e`` of ``epochs`` has ``then(e / (epochs - 1))``.

    >>> gate = PerEpoch(epochs=3, then=Linear(0.0, 1.0))
    >>> [gate(progress_at(step, 6)) for step in range(6)]
    [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]

    Args:
        epochs: of the whole training, as :func:`mentorch.fit` has it; at least 2.
        then: what moves.
    """

    epochs: int
    then: float | Gate = Linear()

    def __post_init__(self) -> None:
        as_gate(self.then)
        if self.epochs < 2:
            raise UsageError(f"a gate that moves per epoch needs at least 2 epochs, got {self.epochs}")

    def __call__(self, progress: float) -> float:
        # step i of S = n * epochs has progress i / (S - 1), a little above i / S and below (i + 1) / S
        epoch = min(int(progress * self.epochs), self.epochs - 1)
        return as_gate(self.then)(epoch / (self.epochs - 1))


def as_gate(value: float | Gate) -> Gate:
    """A number becomes a :class:`Constant`; a gate stays what it is.

    Raises:
        UsageError: if ``value`` is neither.
    """
    if isinstance(value, Real):
        return Constant(float(value))
    if callable(value):
        return value
    raise UsageError(f"a gate is a number or a function of progress, got {value!r}")


def progress_at(step: int, steps: int) -> float:
    """Progress of step ``step`` (from 0) out of ``steps``: exactly 0 at the first and exactly 1 at the last.

    >>> [progress_at(i, 5) for i in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return step / (steps - 1) if steps > 1 else 0.0


KINDS: Mapping[str, type] = {
    kind.__name__.lower(): kind for kind in (Constant, Linear, Cosine, Between, Steps, Warmup, Decay, Scaled, PerEpoch)
}
"""The gates by name, as they are written in files."""


def as_data(gate: float | Gate) -> Any:
    """A gate as plain data: a number, or ``{name: fields}``.

    >>> as_data(Warmup(0.25, Linear(1.0, 0.0)))
    {'warmup': {'length': 0.25, 'then': {'linear': {'start': 1.0, 'end': 0.0}}}}

    Raises:
        UsageError: for a gate that is not one of :data:`KINDS`.
    """
    if isinstance(gate, int | float):
        return gate
    name = type(gate).__name__.lower()
    if KINDS.get(name) is not type(gate):
        raise UsageError(f"{gate!r} has no written form: only these have one: {', '.join(KINDS)}")
    values = {field.name: getattr(gate, field.name) for field in fields(gate)}  # type: ignore[arg-type]
    if "then" in values:
        values["then"] = as_data(values["then"])
    return {name: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}}


def from_data(data: Any) -> float | Gate:
    """The gate that :func:`as_data` wrote; a name alone is a gate with its defaults.

    >>> from_data("linear")
    Linear(start=0.0, end=1.0)

    Raises:
        UsageError: for another form, an unknown name, or fields that the gate does not have.
    """
    if isinstance(data, int | float) and not isinstance(data, bool):
        return data
    spec = {data: {}} if isinstance(data, str) else data
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise UsageError(f"a gate is a number, a name or {{name: fields}}, got {data!r}")
    ((name, values),) = spec.items()
    if name not in KINDS:
        raise unknown("gate", name, KINDS)
    if not isinstance(values, Mapping):
        raise UsageError(f"gate {name!r}: fields are written as a mapping, got {values!r}")
    known = [field.name for field in fields(KINDS[name])]
    for key in values:
        if key not in known:
            raise unknown(f"field of gate {name!r}", key, known)
    try:
        made: Gate = KINDS[name](**{k: from_data(v) if k == "then" else v for k, v in values.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"gate {name!r}: {error}") from error
    return made
