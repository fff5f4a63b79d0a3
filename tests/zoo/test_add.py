import json
from pathlib import Path

import pytest

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.networks import state_hash


def test_a_network_is_copied_with_its_card(tmp_path, keep):
    source = keep("run/a b")
    target = zoo.add(source, tmp_path / "zoo")
    assert target == tmp_path / "zoo/run-a-b"
    assert zoo.read(target) == zoo.read(source)
    assert state_hash(zoo.load(target)[0]) == state_hash(zoo.load(source)[0])
    assert sorted(path.name for path in target.iterdir()) == ["card.json", "model.safetensors"]


def test_facts_may_be_other_in_the_zoo_but_not_what_the_weights_decide(tmp_path, keep):
    source = keep("a")
    card = zoo.read(zoo.add(source, tmp_path / "zoo", name="b", licence="MIT", classes=("x", "y", "z")))
    assert (card.name, card.licence, card.classes) == ("b", "MIT", ("x", "y", "z"))
    assert card.hash == zoo.read(source).hash
    for field in ("hash", "network", "colour"):
        with pytest.raises(UsageError, match=f"cannot be given another '{field}'"):
            zoo.add(source, tmp_path / "zoo", name="c", **{field: "x"})


@pytest.mark.parametrize(
    "fact",
    [
        {"tags": {"k": [1, 2]}},
        {"dataset": 3},
        {"classes": "xyz"},
        {"input": {"channels": 1}},
        {"metrics": {"accuracy": float("nan")}},
        {"licence": Path("x")},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_a_fact_that_no_card_can_hold_is_refused_before_anything_is_written(tmp_path, keep, fact):
    with pytest.raises(UsageError, match="card 'b' cannot be written"):
        zoo.add(keep("a"), tmp_path / "zoo", name="b", **fact)
    assert not (tmp_path / "zoo").exists()


def test_no_name_is_there_twice(tmp_path, keep):
    zoo.add(keep("a"), tmp_path / "zoo")
    with pytest.raises(UsageError, match=r"has a network called 'a' in .*zoo/a"):
        zoo.add(keep("a", "other"), tmp_path / "zoo")
    with pytest.raises(UsageError, match="has a network called 'A b'"):
        zoo.add(keep("A-b"), tmp_path / "zoo") and zoo.add(keep("A b", "third"), tmp_path / "zoo")
    for name in ("..", "///"):
        with pytest.raises(UsageError, match="no letter or digit"):
            zoo.place(name, tmp_path / "zoo")


def test_a_lie_is_not_copied(tmp_path, keep):
    source = keep("a")
    path = source / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hash": "0" * 64}))
    with pytest.raises(RunError, match="is not what its card says"):
        zoo.add(source, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
