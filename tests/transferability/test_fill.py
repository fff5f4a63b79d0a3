"""What is in a store is never computed again, unless it is not what it was."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from torch import Tensor

from mentorch import zoo
from mentorch.transferability import Frame, Store, here
from mentorch.transferability._atlas import Task, fill
from mentorch.transferability._engines import Outcome, Work


class Counting:
    """An engine that remembers whom it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, work: Work, entries: Iterable[zoo.Entry]) -> Iterator[tuple[zoo.Entry, Outcome]]:
        known = list(entries)
        self.asked = sorted(entry.name for entry in known)
        return here(work, known)


@pytest.fixture
def root(keep, tmp_path: Path) -> Path:
    for i in range(3):
        keep(tmp_path / "zoo", f"n{i}", seed=i)
    return tmp_path / "zoo"


@pytest.fixture
def again(root: Path, images: Tensor, tmp_path: Path):
    """Fill the store and say who was computed."""

    def run(at: str = "") -> tuple[list[str], dict[str, str]]:
        engine, frame = Counting(), Frame.of(images)
        result = fill(Store(tmp_path / "store", frame), Task(frame, images, at=at), zoo.entries(root), engine=engine)
        return engine.asked, {entry.name: entry.failure for entry in result}

    return run


def rows(tmp_path: Path) -> int:
    return (tmp_path / "store" / "rows.bin").stat().st_size


def test_a_new_network_costs_one_row_and_an_old_one_nothing(again, keep, root: Path, tmp_path: Path):
    assert again() == (["n0", "n1", "n2"], {"n0": "", "n1": "", "n2": ""})
    size = rows(tmp_path)
    keep(root, "n3", seed=3)
    assert again()[0] == ["n3"]
    assert rows(tmp_path) == size * 4 // 3
    assert again()[0] == []


def test_one_that_fails_is_tried_again(again, keep, root: Path):
    keep(root, "bad", change=lambda network: network.layer2[1].weight.zero_())
    for _ in range(2):
        asked, reasons = again()
        assert "bad" in asked
        assert "the same for all probes" in reasons["bad"]


def test_whatever_changes_the_embedding_changes_the_row(again, root: Path):
    again()
    assert again("layer1")[0] == ["n0", "n1", "n2"]
    card = json.loads((root / "n1" / "card.json").read_text())
    card["input"]["mean"] = [0.1, 0.2, 0.3]
    (root / "n1" / "card.json").write_text(json.dumps(card))
    assert again()[0] == ["n1"]
    card["licence"], card["name"] = "MIT", "renamed"
    (root / "n1" / "card.json").write_text(json.dumps(card))
    assert again()[0] == []


def test_weights_that_changed_behind_their_card_are_found(again, root: Path):
    """A row by that hash is there: the number would be right for a network that is not there any more."""
    again()
    shutil.copy(root / "n0" / "model.safetensors", root / "n2" / "model.safetensors")
    asked, reasons = again()
    assert asked == []
    assert "is not what its card says" in reasons["n2"]
    assert reasons["n0"] == reasons["n1"] == ""


def test_a_copy_with_other_weights_is_found_too(again, root: Path):
    again()
    shutil.copytree(root / "n0", root / "copy")
    card = json.loads((root / "copy" / "card.json").read_text())
    (root / "copy" / "card.json").write_text(json.dumps({**card, "name": "copy"}))
    assert again()[1]["copy"] == ""
    shutil.copy(root / "n1" / "model.safetensors", root / "copy" / "model.safetensors")
    assert "is not what its card says" in again()[1]["copy"]


def test_weights_are_read_again_only_if_their_file_changed(again, root: Path, monkeypatch: pytest.MonkeyPatch):
    again()
    read: list[str] = []
    check = zoo.check
    monkeypatch.setattr(zoo, "check", lambda entry, **options: read.append(entry.name) or check(entry, **options))
    again()
    assert read == []
    os.utime(root / "n1" / "model.safetensors", ns=(1, 1))
    assert again()[1]["n1"] == ""
    assert read == ["n1"]


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_record_of_what_was_verified_costs_a_look(again, tmp_path: Path, content: str):
    again()
    (tmp_path / "store" / "verified.json").write_text(content)
    assert again() == ([], {"n0": "", "n1": "", "n2": ""})


def test_an_embedding_that_float16_cannot_hold_is_a_failure(root: Path, images: Tensor, tmp_path: Path):
    frame = Frame.of(images)

    def huge(_: Work, entries: Iterable[zoo.Entry]) -> Iterator[tuple[zoo.Entry, Outcome]]:
        for entry in entries:
            nodes, edges = Task(frame, images)(entry)
            yield entry, (nodes * 1e6, edges)

    result = fill(Store(tmp_path / "store", frame), Task(frame, images), zoo.entries(root), engine=huge)
    assert {entry.failure for entry in result} == {"its embedding is not finite in float16"}
