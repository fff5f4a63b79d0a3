"""Callbacks: each fires at its event, as often as it says, counted in the event's own unit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from mentorch import Graph, On, UsageError, fit
from mentorch.training import Training

Data = list[tuple[Tensor, Tensor]]
MakeData = Callable[..., Data]
MakeGraph = Callable[..., Graph]

SGD = partial(torch.optim.SGD, lr=0.1)


def events(graph: Graph, train: Data, *callbacks: On, **options: Any) -> None:
    fit(graph, train, optimizer=SGD, callbacks=callbacks, tensorboard=False, progress=False, **options)


def test_order_of_events_in_a_run(linear: MakeGraph, data: MakeData, tmp_path: Any) -> None:
    log: list[str] = []

    def note(event: str) -> On:
        return On(event, lambda t: log.append(f"{event} {t.epoch}.{t.step}"))  # type: ignore[arg-type]

    callbacks = [note(event) for event in ("end", "checkpoint", "epoch", "step", "start", "error")]
    events(linear(), data(2), *callbacks, epochs=2, run=tmp_path)
    assert log == [
        "start 1.0",
        *("step 1.1", "step 1.2", "epoch 1.2", "checkpoint 2.2"),
        *("step 2.3", "step 2.4", "epoch 2.4", "checkpoint 3.4"),
        "end 3.4",
    ]


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"every": 2}, [2, 4]),
        ({"every": 9}, []),
        ({"at": (1, 4)}, [1, 4]),
        ({"at": {5}, "every": 2}, [5]),
        ({"once": True}, [1]),
        ({"once": True, "every": 2}, [2]),
        ({"once": True, "at": [3, 4]}, [3]),
        ({"when": lambda t: t.epoch > 3}, [4, 5]),
        ({"when": lambda t: t.epoch > 2, "every": 2}, [4]),
        ({"when": lambda t: t.epoch > 2, "once": True}, [3]),
        ({"when": lambda t: t.epoch > 2, "once": True, "at": (1, 2, 4, 5)}, [4]),
    ],
)
def test_when_an_epoch_callback_fires(
    options: dict[str, Any], epochs: list[int], linear: MakeGraph, data: MakeData
) -> None:
    fired: list[int] = []
    # the number of steps is no multiple of anything, so that counting steps instead of epochs shows
    events(linear(), data(3), On("epoch", lambda t: fired.append(t.epoch), **options), epochs=5)
    assert fired == epochs


def test_each_event_counts_in_its_own_unit(linear: MakeGraph, data: MakeData, tmp_path: Any) -> None:
    fired: dict[str, list[int]] = {"step": [], "checkpoint": []}
    callbacks = [
        On("step", lambda t: fired["step"].append(t.step), every=3),
        On("checkpoint", lambda t: fired["checkpoint"].append(t.step), every=2),
    ]
    events(linear(), data(4), *callbacks, epochs=2, run=tmp_path, checkpoint_every=1)
    assert fired == {"step": [3, 6], "checkpoint": [2, 4, 6, 8]}


def test_steps_are_optimiser_steps(linear: MakeGraph, data: MakeData) -> None:
    seen: list[tuple[int, int]] = []
    events(linear(), data(5), On("step", lambda t: seen.append((t.step, t.batch))), epochs=1, accumulate=2)
    assert seen == [(1, 2), (2, 4), (3, 5)]


def test_callbacks_of_one_event_run_in_the_order_given(linear: MakeGraph, data: MakeData) -> None:
    log: list[str] = []
    callbacks = [On("epoch", lambda _, name=name: log.append(name)) for name in "cab"]
    events(linear(), data(1), *callbacks, epochs=2)
    assert "".join(log) == "cabcab"


def test_a_counter_goes_on_in_a_resumed_run(linear: MakeGraph, data: MakeData, tmp_path: Any) -> None:
    fired: list[tuple[str, int]] = []

    def run(stop: int) -> None:
        callbacks = [
            On("epoch", lambda t: fired.append(("every", t.epoch)), every=2),
            On("epoch", lambda t: fired.append(("once", t.epoch)), once=True),
            On("epoch", _fail, at=(stop,)),
        ]
        events(linear(), data(2), *callbacks, epochs=4, run=tmp_path, resume=True)

    with pytest.raises(ZeroDivisionError):
        run(stop=2)
    run(stop=9)
    assert fired == [("once", 1), ("every", 2), ("every", 2), ("every", 4)]


def _fail(_: Training) -> None:
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize("event", ["start", "step", "epoch"])
def test_an_error_in_a_callback_goes_on_after_the_error_event(event: Any, linear: MakeGraph, data: MakeData) -> None:
    log: list[str] = []
    callbacks = [
        On(event, _fail),
        On(event, lambda t: log.append("not reached")),
        On("error", lambda t: log.append("error")),
        On("end", lambda t: log.append("end")),
    ]
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        events(linear(), data(2), *callbacks, epochs=1)
    assert log == ["error"]


def test_stop_ends_the_run_after_the_epoch(linear: MakeGraph, data: MakeData, tmp_path: Any) -> None:
    history = None
    for _ in range(2):  # a stopped run stays stopped
        history = fit(
            linear(),
            data(3),
            optimizer=SGD,
            epochs=5,
            callbacks=[On("step", lambda t: t.stop("enough"), at=[4])],
            run=tmp_path,
            resume=True,
        )
        assert len(history.records) == 2
        assert history.records[-1]["step"] == 6
        assert history.stopped == "enough"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": "epochs"}, "unknown event 'epochs' .*start, step, epoch"),
        ({"event": "step", "every": 0}, "every must be at least 1, got 0"),
        ({"event": "step", "at": (0, 3)}, "at counts from 1, got 0, 3"),
    ],
)
def test_bad_callbacks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        On(call=_fail, **options)
