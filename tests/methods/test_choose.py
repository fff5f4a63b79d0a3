import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch import UsageError
from mentorch.data import LabelSpace
from mentorch.methods import choose_teachers

SPACE = LabelSpace.union({"a": "uv", "b": "vw", "c": "uw", "d": "x"})
TEACHERS = {name: nn.Identity() for name in "abcd"}


def score(**values: float):
    return lambda name, network: values[name]


def test_teachers_of_other_classes_are_not_even_asked():
    kept = choose_teachers(TEACHERS, score(a=0.1, b=0.3, c=0.2), space=SPACE.only("uvw"))
    assert list(kept.items()) == [("b", 0.3), ("c", 0.2), ("a", 0.1)]


@given(values=st.tuples(*[st.floats(0, 1)] * 4), keep=st.integers(3, 4))
def test_no_class_is_left_without_a_teacher(values: tuple[float, ...], keep: int):
    scores = dict(zip("abcd", values, strict=True))
    kept = choose_teachers(TEACHERS, score(**scores), space=SPACE, keep=keep)
    assert len(kept) <= keep
    assert all(set(SPACE.owners(name)) & kept.keys() for name in SPACE.names)
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    if keep == 3:  # d alone knows x, so it stays; of the others the least useful goes
        assert set(kept) == {"d", *sorted("abc", key=lambda name: -scores[name])[:2]} or len(set(values)) < 4


def test_those_below_a_threshold_go_if_they_can():
    scores = score(a=0.9, b=0.2, c=0.8, d=0.1)
    assert set(choose_teachers(TEACHERS, scores, space=SPACE.only("uvw"), least=0.5)) == {"a", "c"}
    with pytest.raises(UsageError, match=r"'d' is not useful enough \(0.1\), but nobody else knows 'x'"):
        choose_teachers(TEACHERS, scores, space=SPACE, least=0.5)


def test_wrong_use_is_named():
    every = score(a=1, b=1, c=1, d=1)
    with pytest.raises(UsageError, match="keep must be at least 1, not 0"):
        choose_teachers(TEACHERS, every, space=SPACE, keep=0)
    with pytest.raises(UsageError, match="2 teachers do not know all classes: at least these are needed"):
        choose_teachers(TEACHERS, every, space=SPACE, keep=2)
    with pytest.raises(UsageError, match="no teacher knows class 'x'"):
        choose_teachers({name: TEACHERS[name] for name in "abc"}, every, space=SPACE)
    with pytest.raises(UsageError, match="usefulness of 'a' is not a number"):
        choose_teachers(TEACHERS, score(a=float("nan"), b=1, c=1, d=1), space=SPACE)
