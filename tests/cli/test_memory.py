import ctypes
import subprocess
import sys

import pytest

from mentorch.cli._memory import keep_freed_memory


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the C library is told, and an environment in which nobody decided."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, option: int, value: int) -> int:
            calls.append((option, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_the_library_is_told_once_for_each_threshold(told: list[tuple[int, int]]) -> None:
    assert keep_freed_memory()
    assert sorted(option for option, _ in told) == [-3, -1]


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_who_has_decided_is_left_alone(told: list, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()
    assert told == []


def test_another_library_is_left_alone(told: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


FAULTS = """
import resource, sys, torch
from mentorch.cli._memory import keep_freed_memory
changed = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    torch.ones(16, 2**20)  # 64 MiB, freed at once
for _ in range(10):
    step()
before = faults()
for _ in range(5):
    step()
print(changed, faults() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="this is about glibc")
def test_what_was_freed_is_not_faulted_in_again(told: list) -> None:
    def run(what: str) -> tuple[str, int]:
        done = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
        changed, faults = done.stdout.split()
        return changed, int(faults)

    changed, kept = run("keep")
    assert changed == "True"
    unchanged, returned = run("leave")
    assert unchanged == "False"
    assert kept * 10 < returned
