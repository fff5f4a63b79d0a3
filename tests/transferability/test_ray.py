"""A real Ray cluster on this machine, and a worker of it that is killed in the middle."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Frame, Store, atlas, on_ray

NETWORKS = 16
# a process of its own: Ray starts threads and processes that the test's own must not inherit, and warns on import
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from mentorch.transferability import atlas, on_ray
from safetensors.torch import load_file
if __name__ == "__main__":
    zoo, images, store = sys.argv[1:]
    found = atlas(zoo, load_file(images)["images"], store=store, engine=partial(on_ray, workers=2))
    print(len(found), len(found.failures))
"""


def needs_ray(test):
    """Where there is Ray, and /proc to find its workers by."""
    test = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra")(test)
    test = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found by /proc")(test)
    return pytest.mark.slow(test)


def processes(root: int) -> Iterator[tuple[int, str]]:
    """Everything that a process started, at any depth, with its title."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it is over
                continue
    for process in parents:
        above = process
        while above in parents and above != root:
            above = parents[above]
        if above == root and process != root:
            try:
                yield process, (Path("/proc") / str(process) / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def kill_one_that_works(program: subprocess.Popen) -> int:
    """Kill a worker of the program's cluster while it has a network in hand."""
    while program.poll() is None:
        for process, title in processes(program.pid):
            if title.startswith("ray::_remotely"):
                os.kill(process, signal.SIGKILL)
                return process
    return 0


@needs_ray
def test_a_worker_that_is_killed_costs_nothing_but_time(keep, tmp_path: Path):
    from safetensors.torch import save_file

    images = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    save_file({"images": images}, tmp_path / "images")
    for i in range(NETWORKS):
        keep(tmp_path / "zoo", f"n{i:02}", "cnn_medium", seed=i)
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [str(tmp_path / name) for name in ("program.py", "zoo", "images", "store")]
    # Ray tells of the loss in lines of its own before the program's last one
    program = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows, row = tmp_path / "store" / "rows.bin", 0
    while program.poll() is None and not (row and rows.stat().st_size >= 4 * row):
        time.sleep(0.02)
        row = row or (rows.stat().st_size if rows.exists() else 0)
    killed = kill_one_that_works(program)
    out, err = program.communicate(timeout=300)
    assert killed, err
    assert (program.returncode, out.split()[-2:]) == (0, [str(NETWORKS), "0"]), err
    alone = Store(tmp_path / "alone", Frame.of(images))
    expected = atlas(tmp_path / "zoo", images, store=alone.folder)
    found = atlas(tmp_path / "zoo", images, store=tmp_path / "store", engine=_refuse)
    torch.testing.assert_close(found.near.nodes, expected.near.nodes, rtol=0, atol=1e-3)
    assert torch.equal(found.near.index, expected.near.index)
    assert (tmp_path / "store" / "rows.bin").stat().st_size == (tmp_path / "alone" / "rows.bin").stat().st_size


@needs_ray
def test_a_ranking_is_that_of_one_process_also_when_a_worker_is_killed(keep, tmp_path: Path):
    for i in range(NETWORKS):
        keep(tmp_path / "zoo", f"n{i:02}", ("cnn_medium", "resnet20")[i % 2], seed=i)
    (tmp_path / "zoo" / "torn").mkdir()
    (tmp_path / "zoo" / "torn" / "card.json").write_text("{")
    words = [sys.executable, "-m", "mentorch", "rank", "--zoo", "zoo", "--samples", "300", "--scores", "logme", "leep"]
    words += ["--no-results", "--threads", "1"]
    cluster = [*words, "--name", "cluster", "--engine", "ray", "--workers", "2"]
    program = subprocess.Popen(cluster, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    told = 0
    for line in program.stderr:
        told += line.endswith(" s)\n")
        if told == 4:
            break
    killed = kill_one_that_works(program)
    _, rest = program.communicate(timeout=300)
    assert killed, rest
    assert program.returncode == 0, rest
    assert rest.count(" s)\n") == NETWORKS - 4, rest  # it was in the middle
    subprocess.run([*words, "--name", "alone"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    tables = []
    for name in ("cluster", "alone"):
        rows = json.loads((tmp_path / "runs" / name / "results.json").read_text())["rows"]
        tables.append([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
    assert len(tables[0]) == NETWORKS + 1
    assert [row["name"] for row in tables[0] if row["failure"]] == ["torn"]
    for found, expected in zip(*tables, strict=True):
        assert found.pop("scores") == pytest.approx(expected.pop("scores"), abs=1e-6)
        assert found == expected


def _refuse(work: object, entries: list[object]) -> Iterator[object]:
    assert list(entries) == []  # everything is in the store
    return iter(())


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, images: Tensor, keep, tmp_path: Path):
    keep(tmp_path / "zoo", "a")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'mentorch\[ray\]'"):
        atlas(tmp_path / "zoo", images, store=tmp_path / "store", engine=partial(on_ray, workers=2))
