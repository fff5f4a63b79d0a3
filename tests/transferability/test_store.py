import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Frame, Store, similarities

FRAME = Frame("probes", 10, "lens", grid=4, width=8)
WORKER = """
import sys, torch
from pathlib import Path
from mentorch.transferability import Frame, Store
folder, first, last, count, width = Path(sys.argv[1]), *map(int, sys.argv[2:])
frame = Frame("probes", count, "lens", grid=4, width=width)
store = Store(folder, frame)
for i in range(first, last):
    store.add(frame.key(str(i)), *(torch.full((size,), i % 7 + 1.0) for size in frame.sizes))
"""


def row(i: int, frame: Frame = FRAME) -> tuple[str, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(i)
    nodes, edges = (torch.randn(size, generator=generator) for size in frame.sizes)
    return frame.key(str(i)), nodes, edges


def start(folder: Path, first: int, last: int, frame: Frame) -> subprocess.Popen[bytes]:
    numbers = (str(n) for n in (first, last, frame.count, frame.width))
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), *numbers])


def fill(folder: Path, first: int, last: int, frame: Frame) -> None:
    store = Store(folder, frame)
    for i in range(first, last):
        store.add(*row(i, frame))


def test_what_was_added_comes_back_in_order(tmp_path: Path):
    store = Store(tmp_path / "a" / "b", FRAME)
    assert len(store.read()) == 0
    fill(tmp_path / "a" / "b", 0, 3, FRAME)
    table = store.read()
    assert table.keys == store.keys() == tuple(FRAME.key(str(i)) for i in range(3))
    for i in range(3):
        torch.testing.assert_close(table.nodes[i].float(), row(i)[1], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(table.edges[i].float(), row(i)[2], rtol=1e-3, atol=1e-3)
    assert similarities(table, table).shape == (3, 3)


def test_what_is_there_is_not_written_again(tmp_path: Path):
    store = Store(tmp_path, FRAME)
    fill(tmp_path, 0, 3, FRAME)
    path = tmp_path / "rows.bin"
    size, before = path.stat().st_size, path.read_bytes()
    store.add(*row(1))
    assert path.read_bytes() == before
    store.add(*row(3))
    assert path.stat().st_size == size * 4 // 3  # one row
    assert path.read_bytes()[:size] == before
    assert row(3)[0] in store
    assert row(4)[0] not in store


def test_reading_maps_and_does_not_copy(tmp_path: Path):
    fill(tmp_path, 0, 3, FRAME)
    table = Store(tmp_path, FRAME).read()
    assert table.nodes.untyped_storage().data_ptr() == table.edges.untyped_storage().data_ptr()
    assert table.nodes.dtype == torch.float16


@pytest.mark.parametrize("cut", [1, 50, 300])
def test_a_row_cut_short_is_missing_and_replaced(tmp_path: Path, cut: int):
    fill(tmp_path, 0, 3, FRAME)
    path = tmp_path / "rows.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert Store(tmp_path, FRAME).keys() == tuple(FRAME.key(str(i)) for i in range(2))
    fill(tmp_path, 0, 3, FRAME)
    assert path.read_bytes() == whole


def test_a_damaged_row_is_missing_and_the_others_are_not(tmp_path: Path):
    fill(tmp_path, 0, 3, FRAME)
    path = tmp_path / "rows.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = Store(tmp_path, FRAME)
    assert store.keys() == (FRAME.key("0"), FRAME.key("2"))
    store.add(*row(1))
    table = Store(tmp_path, FRAME).read()
    assert table.keys == tuple(FRAME.key(i) for i in "021")
    torch.testing.assert_close(table.nodes[2].float(), row(1)[1], rtol=1e-3, atol=1e-3)


def test_two_processes_share_a_folder(tmp_path: Path):
    workers = [start(tmp_path, first, first + 30, FRAME) for first in (0, 15)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert sorted(Store(tmp_path, FRAME).keys()) == sorted(FRAME.key(str(i)) for i in range(45))
    assert (tmp_path / "rows.bin").stat().st_size % 45 == 0


def test_a_process_killed_at_any_moment_leaves_whole_rows(tmp_path: Path):
    frame = replace(FRAME, count=60, width=512)  # rows large enough to be caught in the act
    worker, path = start(tmp_path, 0, 10**6, frame), tmp_path / "rows.bin"
    while worker.poll() is None and (not path.exists() or path.stat().st_size < 10**6):
        time.sleep(0.01)
    assert worker.poll() is None
    worker.kill()
    worker.wait(timeout=60)
    store = Store(tmp_path, frame)
    count = len(store.keys())
    assert count > 0
    fill(tmp_path, 0, count + 2, frame)
    assert store.keys() == tuple(frame.key(str(i)) for i in range(count + 2))


def test_another_frame_is_refused_and_named(tmp_path: Path):
    Store(tmp_path, FRAME)
    with pytest.raises(UsageError, match=r"holds embeddings of another frame \(width 8, not 16\)"):
        Store(tmp_path, replace(FRAME, width=16))
    (tmp_path / "frame.json").write_text("{")
    with pytest.raises(RunError, match="damaged or not JSON"):
        Store(tmp_path, FRAME)
    (tmp_path / "frame.json").write_text("[]")
    with pytest.raises(UsageError, match="its frame is damaged"):
        Store(tmp_path, FRAME)


def test_wrong_rows_are_refused(tmp_path: Path):
    store = Store(tmp_path, FRAME)
    key, nodes, edges = row(0)
    with pytest.raises(UsageError, match=r"rows have \(80, 45\) numbers, got 79, 45"):
        store.add(key, nodes[1:], edges)
    with pytest.raises(RunError, match="not finite in float16"):
        store.add(key, 1e6 * nodes, edges)
    for name in ("resnet20", "abcd"):
        with pytest.raises(UsageError, match=f"'{name}' is not the key of an embedding"):
            store.add(name, nodes, edges)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        Store(tmp_path / "file", FRAME)
