import json

from hypothesis import given
from hypothesis import strategies as st

from mentorch.reports._format import amount, count, dig, duration, number, ratio, shorten, signed, slug, text

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(ANYTHING)
def test_every_formatter_takes_anything_a_json_file_can_hold(value):
    for show in (amount, count, duration):
        assert show(value).isprintable()
    assert ratio(value, value).isprintable()
    assert text(value).isprintable()
    text(value).encode()
    assert dig(value, "a", "b") is None or isinstance(value, dict)


def test_number_takes_finite_numbers_only():
    assert number(3) == 3.0
    assert [number(x) for x in (True, "3", None, float("nan"), float("inf"), 10**400, [1])] == [None] * 7


def test_text_survives_a_lone_surrogate_and_a_direction_override():
    assert text(json.loads('"a\\ud800\\u202eb\\nc"')) == "a\ufffd\ufffdb c"


@given(st.text(min_size=1), st.integers(3, 30))
def test_shorten_keeps_both_ends_within_the_length(value, length):
    short = shorten(value, length)
    assert len(short) <= length
    assert short == value or "…" in short


def test_signed_has_no_minus_zero():
    assert [signed(x, 1) for x in (-0.04, 0.04, -1.26)] == ["0.0", "0.0", "\u22121.3"]


def test_duration_and_amount_at_the_borders_of_their_units():
    assert [duration(s) for s in (59.9, 60, 3599, 3600)] == ["59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min"]
    assert [amount(x) for x in (999, 1000, 1.5e9)] == ["999", "1 k", "1.5 G"]


@given(st.text())
def test_slug_is_a_safe_file_name(name):
    assert slug(name).replace("-", "").isalnum()
    assert slug(name).isascii()
