import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mentorch import RunError
from mentorch.search._lock import JournalLock, held


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    order = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with held(tmp_path / "deep" / "lock"):
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with held(tmp_path / "deep" / "lock"):
        inside.set()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys, os; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        with held(path):  # or this would wait for ever
            pass


def test_the_journal_uses_the_same_lock(tmp_path: Path) -> None:
    lock = JournalLock(tmp_path / "lock")
    for _ in range(2):
        assert lock.acquire()
        lock.release()
    with held(tmp_path / "lock"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot use .*file/lock"), held(tmp_path / "file" / "lock"):
        pass
