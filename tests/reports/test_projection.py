import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mentorch.reports._projection import CLASSES, _columns, _size, projections


def space(n: int = 60, d: int = 6, seed: int = 0, labels: torch.Tensor | None = None) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw)
    return x if labels is None else x + 5 * torch.eye(d)[labels % d]


def write(folder: Path, classes: int = 3, networks=("student", "birds", "dogs"), **changes) -> Path:
    labels = torch.arange(60) % classes
    tensors = {f"common.{name}": space(seed=i, labels=labels) for i, name in enumerate(networks)}
    tensors |= {f"features.{name}": space(d=4 + i, seed=i, labels=labels % 4) for i, name in enumerate(networks)}
    tensors |= {"labels": labels} | changes
    (folder / "spaces").mkdir(exist_ok=True)
    names = json.dumps([f"class {k}" for k in range(classes)])
    path = folder / "spaces" / "cfl-seed-0.safetensors"
    save_file({key: value for key, value in tensors.items() if value is not None}, path, metadata={"classes": names})
    return path


def test_a_picture_of_the_common_space_and_one_of_the_features(tmp_path: Path):
    write(tmp_path)
    notes: list[str] = []
    common, features = projections(tmp_path, notes, "a-")
    assert not notes
    assert (common.name, features.name) == ("a-space-cfl-seed-0-common", "a-space-cfl-seed-0-features")
    for picture in (common, features):
        for word in ("student", "birds", "dogs", "class 0", "class 2"):
            assert f">{word}</text>" in picture.svg, word
        assert "60 test images" in picture.caption
        assert "student and birds" in picture.caption
        assert picture.png.startswith(b"\x89PNG")
    assert ">t-SNE</text>" in common.svg
    assert "MMD" in common.caption
    assert "MMD" not in features.caption  # of other widths
    assert [line.partition(":")[0] for line in common.words.splitlines()] == ["birds", "dogs"]


def test_the_same_file_gives_the_same_picture(tmp_path: Path):
    write(tmp_path)
    one, other = projections(tmp_path, []), projections(tmp_path, [])
    assert [p.svg for p in one] == [p.svg for p in other]


def test_of_many_classes_as_many_are_shown_as_there_are_colours(tmp_path: Path):
    write(tmp_path, classes=30)
    common, _ = projections(tmp_path, [])
    assert sum(f">class {k}</text>" in common.svg for k in range(30)) == len(CLASSES)
    assert "20 test images" in common.caption


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "labels"),
        ({"common.birds": torch.zeros(3, 2)}, r"common.birds has shape \[3, 2\] for 60 labels"),
        ({"common.student": None}, "it needs a student"),
        ({"labels": torch.arange(60)}, "label 59 has no name"),
        ({"other.student": torch.zeros(60, 2)}, "other"),
    ],
    ids=["labels", "shape", "student", "name", "space"],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, changes, message: str):
    write(tmp_path, **changes)
    notes: list[str] = []
    assert projections(tmp_path, notes) == []
    (note,) = notes
    assert note.startswith("spaces/cfl-seed-0.safetensors: cannot be read")
    assert re.search(message, note)


def test_a_damaged_file_is_said(tmp_path: Path):
    write(tmp_path).write_bytes(b"no tensors")
    notes: list[str] = []
    assert projections(tmp_path, notes) == []
    assert len(notes) == 1
    assert projections(tmp_path / "elsewhere", notes) == []


def test_long_names_stand_in_fewer_columns():
    assert _columns(["cat", "dog"], 5.2) == 4
    assert _columns(["cat", "x" * 20], 5.2) == 2
    assert _columns(["x" * 20], 1.0) == 1
    short, long = (_size(["student", "birds"], [letter * length for letter in "abcdef"], 2) for length in (3, 20))
    assert short[0] == long[0]
    assert short[1] < long[1]
