from pathlib import Path

import pytest
import torch

from mentorch.comparison import _peak
from mentorch.comparison._peak import peak_memory

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of a process are told by Linux")
def test_the_peak_is_that_of_what_came_after() -> None:
    peak = peak_memory(CPU)
    before = peak()
    torch.ones(200, MIB // 4)  # 200 MiB, freed at once
    large = peak() - before
    assert 180 * MIB < large < 260 * MIB
    again = peak_memory(CPU)
    torch.ones(50, MIB // 4)
    assert again() - before < 150 * MIB


def test_where_nobody_tells_there_is_no_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_peak, "_PROCESS", tmp_path / "nowhere")
    assert peak_memory(CPU)() is None
