"""Gates: when an edge counts. A gate maps training progress in [0, 1] to a weight.

Every gate is a small frozen dataclass: it prints, compares, pickles and can be written to a recipe. Progress is exactly
0 at the first step and exactly 1 at the last: step ``i`` of ``n`` has progress ``i / (n - 1)``. A weight of 0 means
closed: the edge is not computed. The same values serve as learning-rate schedules (factors on the base rate).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mentorch._errors import UsageError

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


def as_gate(value: float | Gate) -> Gate:
    """A number becomes a :class:`Constant`; a gate stays what it is.

    Raises:
        TypeError: if ``value`` is neither.
    """
    if isinstance(value, int | float):
        return Constant(float(value))
    if callable(value):
        return value
    raise TypeError(f"a gate is a number or a function of progress, got {value!r}")


def progress_at(step: int, steps: int) -> float:
    """Progress of step ``step`` (from 0) out of ``steps``: exactly 0 at the first and exactly 1 at the last.

    >>> [progress_at(i, 5) for i in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return step / (steps - 1) if steps > 1 else 0.0
