import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.networks import Taps
from mentorch.zoo import Card, Input
from mentorch.zoo._card import from_json, to_json

FULL = Card(
    "bird teacher",
    "resnet8",
    {"num_classes": 2, "widths": [4, 8, 12]},
    classes=("crow", "wren"),
    dataset="cub50, after ImageNet",
    input=Input(3, (32, 48), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), order="bgr", range=(0.0, 255.0), resize="crop"),
    structure=({"schema": "mentorch.structure/1", "shapes": {"fc.weight": [2, 3]}},),
    taps=Taps("relu", ("layer1",), "fc:in"),
    metrics={"test": {"accuracy": 0.93, "protocol": None}},
    training={"recipe": "x.yaml", "seed": 3},
    parents=("abc", "def"),
    edges=("teacher -> student: kd  x 0.9",),
    fingerprint="1" * 64,
    tags={"difficulty": 0.5, "kind": "fine", "public": True, "rank": 3},
    licence="CC0",
    url="https://example.org",
    version="2",
    hash="0" * 64,
)
values = (
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


def test_the_full_card_comes_back_from_json():
    assert from_json(json.loads(json.dumps(to_json(FULL)))) == FULL
    # every other field was given a value of its own, so none was forgotten on the way
    plain = Card("n", "resnet8")
    assert all(
        getattr(FULL, f.name) != getattr(plain, f.name)
        for f in dataclasses.fields(Card)
        if f.name not in ("task", "network")
    )


@given(st.dictionaries(st.text(), values), st.lists(st.text(max_size=5)), st.text(min_size=1).filter(str.strip))
def test_any_card_comes_back_from_json(mapping, names, name):
    card = Card(name, "wrn_16_1", tags=mapping, metrics=mapping, classes=tuple(names), parents=tuple(names))
    assert from_json(json.loads(json.dumps(to_json(card)))) == card
    kinds = [type(value) for value in card.tags.values()]
    assert [type(value) for value in from_json(json.loads(json.dumps(to_json(card)))).tags.values()] == kinds


def test_cards_of_one_dictionary_are_independent():
    tags, arguments = {"a": 1}, {"num_classes": 2, "widths": [1, 2]}
    first, second = Card("x", "resnet8", arguments, tags=tags), Card("y", "resnet8", arguments, tags=tags)
    tags["a"] = 2
    arguments["widths"].append(3)
    first.arguments["num_classes"] = 7
    assert first.tags == {"a": 1}
    assert second.arguments == {"num_classes": 2, "widths": [1, 2]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.name = "z"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "mentorch.card/9"}, "its schema is not 'mentorch.card/1'"),
        ({"licens": "MIT"}, "licens: "),
        ({"name": 3}, "name: "),
        ({"name": ""}, "a card needs a name"),
        ({"classes": ["a"]}, "names 1 classes, its network has 2"),
        ({"input": {"channels": 1}}, "input.size: "),
        ({"input": dataclasses.asdict(FULL.input) | {"mena": 1}}, "input.mena: "),
        ({"tags": {"a": [1]}}, "tags.a"),
    ],
)
def test_wrong_cards_say_where(change, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as caught:
        from_json(to_json(FULL) | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[], "x", None, {}])
def test_not_a_card_at_all(content):
    with pytest.raises(ValueError, match="its schema is not"):
        from_json(content)


def test_impossible_facts():
    with pytest.raises(UsageError, match="needs a name"):
        Card(" ", "resnet8")
    with pytest.raises(UsageError, match="names 2 classes, its network has 10"):
        Card("x", "resnet8", {"num_classes": 10}, classes=("a", "b"))
    with pytest.raises(UsageError, match="3 channels"):
        Input(3, (8, 8), (0.5,), (0.5,))
    for mean, std in ((0.5, 0.0), (0.5, -0.2), (0.5, float("inf")), (float("nan"), 0.5)):
        with pytest.raises(UsageError, match="std above 0"):
            Input(1, (8, 8), (mean,), (std,))
