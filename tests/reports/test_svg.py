import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mentorch.reports._format import shorten, text
from mentorch.reports._links import Link
from mentorch.reports._plot import INK, PAPER, paint
from mentorch.reports._svg import Measured, details, drawing, fit, line_of_text, pixels, shade, stroke

LINEAR = "Linear(start=0.0, end=1.0)"
lines = st.text(min_size=1).map(text)


def link(gate="1"):
    return Link("edge", ("teacher",), ("student",), "kd", gate)


def test_the_colour_of_a_node_is_its_place_between_the_lowest_and_the_highest_accuracy():
    known = Measured({"a": 0.5, "b": 1.0, "c": 0.75}, low=0.5, high=1.0)
    assert [known.colours(name) for name in "abc"] == [paint(0.0), paint(1.0), paint(0.5)]
    assert known.colours("d") == (PAPER, INK)
    assert known.colours("d", shade(frozen=True)) == (shade(frozen=True), INK) != (PAPER, INK)
    assert Measured({"a": 0.8}, low=0.8, high=0.8).colours("a") == paint(0.5)


def test_accuracy_in_percent_or_nothing():
    known = Measured({"a": 0.9876, "b": 0.0})
    assert [known.percent(name) for name in "abc"] == ["98.8", "0.0", ""]


@pytest.mark.parametrize(
    ("gate", "share", "width"),
    [
        ("1", {}, 2.0),
        ("0", {}, 1.0),
        ("400", {}, 2.0),  # a weight is no width of a road
        ("-1", {}, 1.0),
        (LINEAR, {}, 1.5),
        ("<function gate>", {}, 1.5),  # that only Python knows
        ("1", {"edge": 1.0}, 5.0),
        ("1", {"edge": 0.25}, 2.0),
        ("1", {"other": 1.0}, 2.0),
    ],
)
def test_an_edge_is_as_wide_as_its_share_of_the_gradient_else_as_its_mean_weight(gate, share, width):
    assert Measured(share=share).width(link(gate)) == pytest.approx(width)


@pytest.mark.parametrize(
    ("gate", "width", "dashes"),
    [("0.5", 2, None), (LINEAR, 2, "14.0 6.0"), ("Linear(start=1.0, end=0.0)", 2, "3.0 5.0"), (LINEAR, 1, "10.5 4.5")],
)
def test_a_line_is_broken_by_the_course_of_its_gate_in_widths_that_stay_visible(gate, width, dashes):
    style = dict(part.split(": ") for part in stroke(link(gate), width).split("; "))
    assert style.get("stroke-dasharray") == dashes
    assert (style["fill"], style["stroke-width"]) == ("none", f"{width}.00")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (None, "data"),
        ({}, ""),
        ({"role": "frozen"}, "frozen"),
        ({"network": "ResNet", "parameters": 78_042, "role": "frozen"}, "ResNet · 78 k"),
        ({"network": "ResNet", "parameters": "many"}, "ResNet"),
        ({"parameters": 12}, "12"),
        ({"network": "a\nb"}, "a b"),
    ],
)
def test_what_is_known_of_a_node(node, words):
    assert details(node) == words


def test_wide_letters_count_as_wide():
    assert pixels("abcd", 10) == 24
    assert pixels("漢字", 10) == pixels("\uff21\uff11", 10) == 20


@settings(max_examples=50)
@given(lines, st.floats(30, 400), st.sampled_from([11, 13]))
def test_text_fits_and_is_cut_no_more_than_it_must(words, room, size):
    found = fit(words, room, size)
    assert pixels(found, size) <= room or len(found) <= 3
    assert (found == words) == (pixels(words, size) <= room or len(words) <= 3)
    if found != words:
        cuts = [shorten(words, length) for length in range(3, len(words))]
        assert found in cuts
        assert all(pixels(cut, size) > room for cut in cuts if len(cut) > len(found))


@pytest.mark.parametrize(("words", "found"), [("0 0000", "0…00"), ("a bcdef g", "a…g"), ("ab   cdefgh", "a…h")])
def test_blanks_at_the_cut_make_room(words, found):
    assert fit(words, 30, 11) == found


@settings(max_examples=50)
@given(lines, st.booleans())
def test_a_line_of_text_says_its_words_and_nothing_else(words, halo):
    found = ElementTree.fromstring(line_of_text(1, 12345.67, words, halo=halo, anchor="end"))
    assert (found.tag, list(found)) == ("text", [])
    assert found.text == words
    assert {key: found.get(key) for key in ("x", "y", "text-anchor")} == {
        "x": "1.0",
        "y": "12345.7",
        "text-anchor": "end",
    }
    assert ("paint-order" in found.get("style")) == halo


@pytest.mark.parametrize(("width", "least"), [(200, 200), (350, 320), (1000, 800)])
def test_a_drawing_is_never_blown_up_and_scrolls_before_it_is_dust(width, least):
    found = ElementTree.fromstring(drawing(width, 50, "<g/>"))
    assert found.get("viewBox") == f"0 0 {width} 50"
    assert found.get("style") == f"width: {width}px; max-width: 100%; min-width: {least}px"
    assert [part.tag.rpartition("}")[2] for part in found] == ["g"]
