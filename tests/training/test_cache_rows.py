"""Rows that tell whether they are whole: after anything that can happen to a file."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import RunError
from mentorch.training import _cache_rows
from mentorch.training._cache_rows import Rows, reserve

COUNT, SIZE = 7, 24


@pytest.fixture
def table(tmp_path: Path) -> Rows:
    return Rows(tmp_path / "a" / "rows", COUNT, SIZE)


def content(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIZE), dtype=torch.uint8, generator=generator)


def test_what_is_written_is_read_also_by_another_process_later(table: Rows, tmp_path: Path) -> None:
    rows = torch.tensor([5, 0, 3])
    table.write(rows, content(3))
    for reader in (table, Rows(tmp_path / "a" / "rows", COUNT, SIZE)):
        data, whole = reader.read(rows)
        assert torch.equal(data, content(3))
        assert whole.all()
        assert reader.read(torch.arange(COUNT))[1].tolist() == [True, False, False, True, False, True, False]


def test_a_new_file_has_no_row_and_takes_all_its_room_at_once(table: Rows, tmp_path: Path) -> None:
    assert not table.read(torch.arange(COUNT))[1].any()
    held = (tmp_path / "a" / "rows").stat()
    assert held.st_size == COUNT * (SIZE + 8)
    assert held.st_blocks * 512 >= held.st_size


def test_a_row_of_zeros_is_a_row(table: Rows) -> None:
    zeros = torch.zeros(COUNT, SIZE, dtype=torch.uint8)
    table.write(torch.arange(COUNT), zeros)
    assert table.complete()
    assert torch.equal(table.load(), zeros)


@given(st.integers(0, COUNT * (SIZE + 8) - 1), st.integers(1, 255))
def test_any_changed_byte_makes_its_row_missing_and_no_other(place: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Rows(Path(folder) / "rows", COUNT, SIZE)
        everything = torch.arange(COUNT)
        table.write(everything, content(COUNT))
        table._table.view(-1)[place] ^= change
        expected = [row != place // (SIZE + 8) for row in range(COUNT)]
        assert table.read(everything)[1].tolist() == expected
        assert table.load() is None
        assert not table.complete()


def test_a_row_in_the_wrong_place_is_missing(table: Rows) -> None:
    table.write(torch.tensor([1]), content(1))
    table._table[2] = table._table[1]
    assert table.read(torch.tensor([1, 2]))[1].tolist() == [True, False]


@given(st.integers(0, SIZE + 8), st.integers(0, 100))
def test_a_row_that_is_half_one_and_half_another_is_missing(cut: int, seed: int) -> None:
    """What a kill in the middle of a write leaves, and what two writers at once leave."""
    with tempfile.TemporaryDirectory() as folder:
        table = Rows(Path(folder) / "rows", COUNT, SIZE)
        table.write(torch.tensor([0, 1]), content(2, seed))
        table.write(torch.tensor([0]), content(2, seed + 1)[:1])
        new = table._table[0].clone()
        table.write(torch.tensor([0]), content(2, seed)[:1])
        old = table._table[0].clone()
        table._table[0] = torch.cat([new[:cut], old[cut:]])
        data, whole = table.read(torch.tensor([0]))
        same = torch.equal(table._table[0], new) or torch.equal(table._table[0], old)
        assert whole.item() == same
        assert not same or torch.equal(data[0], content(2, seed + (cut == SIZE + 8))[0])


def test_load_is_everything_once_it_is_complete(tmp_path: Path) -> None:
    count = 5000  # more than one portion
    table, data = Rows(tmp_path / "rows", count, 8), torch.arange(5000)[:, None].view(torch.uint8)
    table.write(torch.arange(count - 1), data[:-1])
    assert table.load() is None
    assert not table.complete()
    table.write(torch.tensor([count - 1]), data[-1:])
    assert torch.equal(table.load(), data)


def test_an_existing_file_is_only_ever_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"begun")  # somebody was killed while reserving
    reserve(path, 1000)
    assert path.read_bytes() == b"begun" + bytes(995)
    reserve(path, 500)
    assert path.stat().st_size == 1000


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_cache_rows.os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"cannot write .*rows: No space left on device"):
        Rows(tmp_path / "rows", COUNT, SIZE)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        Rows(tmp_path / "file" / "rows", COUNT, SIZE)


def test_writers_at_the_same_time_killed_at_any_moment() -> None:
    """See the program: no reader ever sees half a row, and a filled cache is what a teacher shows live."""
    program = Path(__file__).with_name("cache_writers.py")
    done = subprocess.run([sys.executable, "-W", "error", program], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["rows"]["killed"] == 48
    assert found["rows"]["whole"] > 500
    assert (found["rows"]["torn"], found["rows"]["wrong"], found["rows"]["complete"]) == (0, 0, 1)
    assert found["fill"]["killed"] > 0
    assert (found["fill"]["wrong"], found["fill"]["complete"]) == (0, 1)
