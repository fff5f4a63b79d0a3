"""Gates: one contract for every exported gate, and each against its formula."""

import dataclasses
import inspect
import json
import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentorch import gates
from mentorch._errors import UsageError
from mentorch.gates import (
    Between,
    Constant,
    Cosine,
    Decay,
    Linear,
    PerEpoch,
    Scaled,
    Steps,
    Warmup,
    as_data,
    as_gate,
    from_data,
    progress_at,
)

fractions = st.floats(0.0, 1.0)
weights = st.floats(-1e6, 1e6)
BAD = (math.nan, math.inf, -math.inf)

EVERY = [gate for _, gate in inspect.getmembers(gates, inspect.isclass) if dataclasses.is_dataclass(gate)]
MADE: dict[type, st.SearchStrategy[Any]] = {
    Constant: st.builds(Constant, weights),
    Linear: st.builds(Linear, weights, weights),
    Cosine: st.builds(Cosine, weights, weights),
    Between: st.tuples(fractions, fractions, weights).map(lambda v: Between(*sorted(v[:2]), v[2])),
    Steps: st.builds(Steps, st.lists(fractions, max_size=4).map(tuple), st.floats(-10, 10), weights),
    Decay: st.builds(Decay, st.floats(0, 1e6)),
}
MADE[Warmup] = st.builds(Warmup, fractions, weights | st.one_of(*MADE.values()))
MADE[Scaled] = st.builds(Scaled, weights, weights | st.one_of(*MADE.values()))
MADE[PerEpoch] = st.builds(PerEpoch, st.integers(2, 300), weights | st.one_of(*MADE.values()))
any_gate = st.one_of(*MADE.values())


def test_every_exported_gate_is_under_contract() -> None:
    assert set(EVERY) == set(MADE)


@pytest.mark.parametrize("gate", EVERY, ids=lambda gate: gate.__name__)
def test_every_gate_shows_an_example_that_runs(gate: type) -> None:
    assert ">>>" in (inspect.getdoc(gate) or "")


@given(any_gate, fractions)
def test_a_gate_is_a_number_at_any_progress_and_always_the_same(
    gate: Callable[[float], float], progress: float
) -> None:
    weight = gate(progress)
    assert isinstance(weight, int | float)
    assert math.isfinite(weight)
    assert gate(progress) == weight
    assert as_gate(gate) is gate


@given(any_gate, fractions)
def test_a_gate_prints_compares_hashes_and_pickles(gate: Any, progress: float) -> None:
    for twin in (eval(repr(gate), vars(gates)), pickle.loads(pickle.dumps(gate)), dataclasses.replace(gate)):
        assert twin == gate
        assert hash(twin) == hash(gate)
        assert twin(progress) == gate(progress)


@given(any_gate)
def test_a_gate_cannot_be_changed(gate: Any) -> None:
    for field in dataclasses.fields(gate):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(gate, field.name, 0.5)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "make",
    [
        Constant,
        lambda v: Linear(v, 1.0),
        lambda v: Linear(1.0, v),
        lambda v: Cosine(v, 1.0),
        lambda v: Cosine(1.0, v),
        lambda v: Between(0.0, 1.0, v),
        lambda v: Between(v, 1.0),
        lambda v: Between(0.0, v),
        lambda v: Steps((0.5,), factor=v),
        lambda v: Steps((0.5,), start=v),
        lambda v: Steps((v,)),
        Warmup,
        lambda v: Warmup(0.5, then=v),
        Decay,
    ],
)
def test_what_is_not_a_number_is_refused_when_the_gate_is_made(make: Callable[[float], object], bad: float) -> None:
    with pytest.raises(ValueError, match=f"{bad}|finite"):
        make(bad)


@pytest.mark.parametrize("outside", [-0.1, 1.1, 30])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: Between(v, 1.0), "start"),
        (lambda v: Between(0.0, v), "end"),
        (lambda v: Steps((0.5, v)), "milestone"),
        (Warmup, "length"),
    ],
)
def test_epochs_given_for_fractions_are_refused(make: Callable[[float], object], name: str, outside: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.*between 0 and 1, got {outside}"):
        make(outside)


def test_an_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.75 and 0\.25"):
        Between(0.75, 0.25)


def test_a_negative_decay_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Decay(-1.0)


@pytest.mark.parametrize("then", ["cosine", None, (1.0,)])
def test_a_warmup_into_what_is_no_gate_is_refused_at_once(then: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="gate is a number or a function"):
        Warmup(0.5, then)


@given(weights, weights, fractions)
def test_linear_and_cosine_meet_their_ends_exactly_and_stay_between(start: float, end: float, progress: float) -> None:
    for gate in (Linear(start, end), Cosine(start, end)):
        assert (gate(0.0), gate(1.0)) == (start, end)
        slack = 1e-9 * (1 + abs(start) + abs(end))
        assert min(start, end) - slack <= gate(progress) <= max(start, end) + slack


@given(weights, weights, fractions)
def test_linear_and_cosine_are_their_formulas(start: float, end: float, progress: float) -> None:
    slack = 1e-9 * (1 + abs(start) + abs(end))
    assert Linear(start, end)(progress) == pytest.approx(start + (end - start) * progress, abs=slack)
    half = (start + end) / 2 + (start - end) / 2 * math.cos(math.pi * progress)
    assert Cosine(start, end)(progress) == pytest.approx(half, abs=slack)


@given(fractions)
def test_up_and_down_add_up_to_one(progress: float) -> None:
    assert Linear(0.0, 1.0)(progress) + Linear(1.0, 0.0)(progress) == pytest.approx(1.0, abs=1e-15)
    assert Cosine(0.0, 1.0)(progress) + Cosine(1.0, 0.0)(progress) == pytest.approx(1.0, abs=1e-15)


@given(fractions, fractions, weights, fractions)
def test_between_is_closed_exactly_outside_and_includes_its_ends(a: float, b: float, weight: float, p: float) -> None:
    start, end = sorted((a, b))
    gate = Between(start, end, weight)
    assert gate(start) == gate(end) == weight
    assert gate(p) == (weight if start <= p <= end else 0.0)


@given(st.lists(fractions, max_size=4), fractions)
def test_steps_multiply_once_per_milestone_in_any_order(at: list[float], progress: float) -> None:
    expected = 0.8
    for milestone in at:
        expected *= 0.5 if progress >= milestone else 1.0
    assert Steps(tuple(at), 0.5, 0.8)(progress) == pytest.approx(expected)
    assert Steps(tuple(reversed(at)), 0.5, 0.8)(progress) == Steps(tuple(at), 0.5, 0.8)(progress)


def test_steps_accept_a_list_and_stay_hashable() -> None:
    assert Steps([0.5]) == Steps((0.5,))  # type: ignore[arg-type]
    assert hash(Steps([0.5])) == hash(Steps((0.5,)))  # type: ignore[arg-type]


@given(fractions, weights, fractions)
def test_warmup_rises_linearly_then_leaves_the_gate_alone(length: float, weight: float, progress: float) -> None:
    gate = Warmup(length, weight)
    assert gate(1.0) == weight
    if progress >= length:
        assert gate(progress) == weight
    else:
        assert gate(progress) == pytest.approx(weight * progress / length)


def test_warmup_multiplies_any_gate_and_may_have_no_length() -> None:
    assert Warmup(0.5, Linear(1.0, 0.0))(0.25) == pytest.approx(0.5 * 0.75)
    assert Warmup(0.0, 0.3)(0.0) == 0.3


@given(st.floats(0, 100), fractions, fractions)
def test_decay_starts_at_one_and_never_rises(rate: float, a: float, b: float) -> None:
    early, late = sorted((a, b))
    assert Decay(rate)(0.0) == 1.0
    assert Decay(rate)(early) >= Decay(rate)(late) > 0.0
    assert 1 / Decay(rate)(late) == pytest.approx(1 + rate * late)


@pytest.mark.parametrize("weight", [0, 1, 0.25, -2, True])
def test_a_number_is_a_constant_gate(weight: float) -> None:
    assert as_gate(weight) == Constant(float(weight))
    assert as_gate(weight)(0.7) == weight


def test_any_function_of_progress_is_a_gate() -> None:
    assert as_gate(math.sqrt)(0.25) == 0.5


@pytest.mark.parametrize("value", ["0.5", None, [0.5], (1.0,)])
def test_what_is_neither_a_number_nor_a_function_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="a gate is a number or a function of progress, got"):
        as_gate(value)


@given(st.integers(2, 100_000))
def test_progress_is_exactly_zero_at_the_first_step_and_one_at_the_last(steps: int) -> None:
    assert progress_at(0, steps) == 0.0
    assert progress_at(steps - 1, steps) == 1.0
    assert Linear(0.0, 1.0)(progress_at(steps - 1, steps)) == 1.0


@given(st.integers(1, 500))
def test_progress_never_falls_and_stays_a_fraction(steps: int) -> None:
    progress = [progress_at(step, steps) for step in range(steps)]
    assert all(0.0 <= p <= 1.0 for p in progress)
    assert all(a < b for a, b in pairwise(progress))


def test_a_single_step_is_at_the_start() -> None:
    assert progress_at(0, 1) == 0.0


@given(any_gate)
def test_a_gate_survives_being_written(gate: Any) -> None:
    assert from_data(json.loads(json.dumps(as_data(gate)))) == gate


def test_numbers_and_names_are_gates_in_files() -> None:
    assert as_data(0.5) == 0.5 == from_data(0.5)
    assert from_data("linear") == Linear(0.0, 1.0)
    assert from_data({"warmup": {"length": 0.5, "then": "cosine"}}) == Warmup(0.5, Cosine())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("lineer", "did you mean 'linear'"),
        ({"linear": {"stat": 1}}, "unknown field of gate 'linear' 'stat': did you mean 'start'"),
        ({"linear": {}, "cosine": {}}, "a number, a name"),
        ({"linear": 3}, "written as a mapping"),
        ({"between": {"start": 2, "end": 3}}, "between 0 and 1"),
        ("between", "start"),
        (True, "a number, a name"),
        (None, "a number, a name"),
        ({"perepoch": {"epochs": 2, "then": "no"}}, "unknown gate 'no'"),
    ],
)
def test_what_is_no_gate_in_a_file_is_named(data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_data(data)


def test_a_gate_of_ones_own_has_no_written_form() -> None:
    with pytest.raises(UsageError, match="no written form"):
        as_data(math.sqrt)


@given(st.integers(2, 400), st.integers(1, 2000), st.data())
def test_a_gate_per_epoch_stands_still_within_an_epoch(epochs: int, per_epoch: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, epochs * per_epoch - 1))
    assert PerEpoch(epochs)(progress_at(step, epochs * per_epoch)) == Linear()(step // per_epoch / (epochs - 1))
    for edge in (step // per_epoch * per_epoch, (step // per_epoch + 1) * per_epoch - 1):
        assert PerEpoch(epochs)(progress_at(edge, epochs * per_epoch)) == step // per_epoch / (epochs - 1)


def test_a_gate_per_epoch_needs_two_of_them() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        PerEpoch(1)
