"""Workers that die, and networks that kill them."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mentorch import zoo
from mentorch.transferability import in_processes


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Importable by name in a fresh process, as the work of the library is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = importlib.util.find_spec("workers")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "workers", module)
    spec.loader.exec_module(module)
    return module.work


def test_a_worker_that_dies_is_replaced_and_its_network_tried_again(work: Callable, tmp_path: Path):
    names = ["once", "fatal", "bad", "a"]
    entries = [zoo.Entry(name, tmp_path / name) for name in names]
    found = {entry.name: outcome for entry, outcome in in_processes(work, entries, workers=1)}
    assert sorted(found) == sorted(names)
    assert found["fatal"].startswith("its worker died, 3 times")
    assert found["bad"] == "ValueError: no such thing"
    for name in ("a", "once"):
        process, threads = found[name][0].tolist()
        assert process != os.getpid()
        assert threads == 1


def test_workers_end_with_whoever_asked(work: Callable, tmp_path: Path):
    found = in_processes(work, [zoo.Entry(name, tmp_path / name) for name in "abcd"], workers=1)
    _, (process, _) = next(found)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process[0]), 0)
