"""Callbacks: a small object that says when, and a function that says what."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mentorch._errors import UsageError

Event = Literal["start", "step", "epoch", "checkpoint", "error", "end"]


@dataclass(frozen=True)
class On:
    """Call a function at an event of a run; it receives the :class:`Training` state.

    ``start`` comes before the first step, ``step`` after each optimiser step, ``epoch`` after each epoch and its
    validation, ``checkpoint`` after one was written, ``error`` when the run fails (the error goes on then), ``end``
    last of all.

    >>> On("epoch", print, every=2).due(count=4)
    True

    Args:
        event: when.
        call: what; ``call(training)``.
        every: only each n-th time, counted in the event's own unit: ``every=2`` on epochs means epochs 2, 4, ...
        at: only these times (from 1); takes precedence over ``every``.
        once: only the first time that the rest allows.
        when: only if this holds, asked at the event.

    Raises:
        UsageError: for an unknown event, or ``every`` or a number in ``at`` below 1.
    """

    event: Event
    call: Callable[[Any], None]
    every: int = 1
    at: Collection[int] = ()
    once: bool = False
    when: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        if self.event not in get_args(Event):
            raise UsageError(f"unknown event {self.event!r} (known: {', '.join(get_args(Event))})")
        if self.every < 1:
            raise UsageError(f"every must be at least 1, got {self.every}")
        if any(count < 1 for count in self.at):
            raise UsageError(f"at counts from 1, got {', '.join(map(str, self.at))}")

    def due(self, count: int) -> bool:
        """Whether the ``count``-th occurrence (from 1) is one to react to, as far as the count decides."""
        return count in self.at if self.at else count % self.every == 0


def emit(callbacks: Collection[On], event: Event, count: int, training: Any) -> None:
    """Call what listens to an event, in the order given."""
    for position, callback in enumerate(callbacks):
        if callback.event != event or not callback.due(count) or position in training.fired:
            continue
        if callback.when is None or callback.when(training):
            if callback.once:
                training.fired.append(position)
            callback.call(training)
