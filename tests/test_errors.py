"""Errors are one line, name the thing and point the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentorch import MentorchError, RunError, UsageError
from mentorch._errors import unknown

words = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=4, max_size=12)


def test_the_two_kinds_are_told_apart_and_also_caught_as_pythons_own() -> None:
    assert issubclass(UsageError, MentorchError)
    assert issubclass(UsageError, ValueError)
    assert issubclass(RunError, MentorchError)
    assert issubclass(RunError, RuntimeError)
    assert not issubclass(UsageError, RunError)
    assert not issubclass(RunError, UsageError)


def test_unknown_names_the_kind_the_name_the_near_and_the_known() -> None:
    error = unknown("loss", "pktt", ["pkt", "dkd", "kd"])
    assert isinstance(error, UsageError)
    assert str(error) == "unknown loss 'pktt': did you mean 'pkt'? (known: dkd, kd, pkt)"


def test_unknown_without_a_near_name_suggests_nothing() -> None:
    assert str(unknown("loss", "zzzz", ["pkt"])) == "unknown loss 'zzzz': (known: pkt)"


def test_unknown_suggests_three_names_at_most_the_nearest_first() -> None:
    message = str(unknown("network", "resnet200", ["resnet20", "resnet32", "resnet44", "resnet56", "vgg8"]))
    hint = message.removeprefix("unknown network 'resnet200': ").split("?")[0]
    assert hint.startswith("did you mean 'resnet20' or ")
    assert hint.count("resnet") == 3


@given(words, st.integers(0, 11), st.sets(words, max_size=5))
def test_a_dropped_letter_is_recognised(name: str, at: int, others: set[str]) -> None:
    typed = name[: at % len(name)] + name[at % len(name) + 1 :]
    message = str(unknown("thing", typed, [name]))
    assert f"did you mean {name!r}?" in message
    assert str(unknown("thing", typed, {name, *others})).endswith(f"(known: {', '.join(sorted({name, *others}))})")


@given(st.text())
def test_whatever_the_user_typed_the_error_is_one_line(name: str) -> None:
    message = str(unknown("node", name, ["student", "teacher"]))
    assert len(message.splitlines()) == 1
    assert repr(name) in message


@pytest.mark.parametrize("known", [[], iter(["b", "a"]), {"b": 1, "a": 2}])
def test_the_known_names_may_come_in_any_container(known: object) -> None:
    assert str(unknown("node", "x", known)).endswith(("(known: )", "(known: a, b)"))
