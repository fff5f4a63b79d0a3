import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from mentorch import networks, zoo
from mentorch.cli._rank_rows import Rows
from mentorch.transferability import Row


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for name in "ab":
        arguments = {"num_classes": 3, "in_channels": 1}
        zoo.save(
            networks.build("cnn_tiny", **arguments), tmp_path / "zoo" / name, zoo.Card(name, "cnn_tiny", arguments)
        )
    return tmp_path / "zoo"


def rows(zoo_: Path, target: object = "digits") -> Rows:
    return Rows(zoo_.parent / "rows.jsonl", zoo.entries(zoo_), target)


def row(zoo_: Path, name: str) -> Row:
    scores = {"logme": 0.1 + 0.2, "gbc": math.inf}
    return Row(name, str(zoo_ / name), "cnn_tiny", None, "00", 7, 9, 0.5, scores, 0.1, ("few", "samples"))


def test_a_row_is_read_as_it_was_written(two: Path) -> None:
    kept = rows(two)
    assert kept.read() == {}
    kept.add(row(two, "a"))
    kept.add(row(two, "b"))
    assert rows(two).read() == {two / name: row(two, name) for name in "ab"}


def test_no_score_is_kept_as_such(two: Path) -> None:
    kept = rows(two)
    kept.add(replace(row(two, "a"), scores={"logme": math.nan}))
    assert math.isnan(kept.read()[two / "a"].scores["logme"])


def test_what_failed_is_not_kept(two: Path) -> None:
    kept = rows(two)
    kept.add(replace(row(two, "a"), failure="out of memory"))
    assert kept.read() == {}


def test_half_a_line_is_dropped_and_does_not_spoil_the_next_one(two: Path) -> None:
    kept = rows(two)
    kept.add(row(two, "a"))
    whole = kept.path.read_text()
    kept.path.write_text(whole + whole[:40])
    assert list(kept.read()) == [two / "a"]
    kept.add(row(two, "b"))
    assert list(kept.read()) == [two / "a", two / "b"]


@pytest.mark.parametrize(("old", "new"), [("0.5", "0.6"), ("few", "fev"), ('"from": "', '"from": "0')])
def test_a_changed_line_is_dropped(two: Path, old: str, new: str) -> None:
    kept = rows(two)
    kept.add(row(two, "a"))
    kept.add(row(two, "b"))
    first, second = kept.path.read_text().splitlines(keepends=True)
    assert first.replace(old, new, 1) != first
    kept.path.write_text(first.replace(old, new, 1) + second)
    assert list(kept.read()) == [two / "b"]


def test_rows_of_another_card_or_target_are_dropped(two: Path) -> None:
    kept = rows(two)
    kept.add(row(two, "a"))
    kept.add(row(two, "b"))
    card = json.loads((two / "b/card.json").read_text())
    (two / "b/card.json").write_text(json.dumps(card | {"input": None, "classes": ["x", "y", "z"]}))
    assert list(rows(two).read()) == [two / "a"]
    assert rows(two, "other images").read() == {}
