from pathlib import Path

import pytest
import torch

from mentorch import RunError
from mentorch._files import read_sealed
from mentorch.methods._structural._memory import FILE, Memory, digest
from mentorch.networks import cnn_tiny
from mentorch.structure import plan, split

PLAN = plan(cnn_tiny(4, 1), torch.rand(2, 1, 8, 8))


def test_a_digest_tells_what_is_kept() -> None:
    parts = [split(PLAN, 0.5), split(PLAN, 0.25), *(split(PLAN, 0.5, mode="wels", seed=seed) for seed in (0, 1))]
    assert len({digest(part) for part in parts}) == 4
    assert digest(split(PLAN, 0.5)) == digest(parts[0])
    assert digest(split(PLAN, 0.5, mode="wels", seed=1)) == digest(parts[3])


def test_it_is_written_before_the_first_generation_and_kept_after_it(tmp_path: Path) -> None:
    Memory(None, False, {"seed": 1}).begin()
    Memory(tmp_path, False, {"seed": 1}).begin()
    (tmp_path / "generation-1" / "checkpoints" / "000000003").mkdir(parents=True)
    again = Memory(tmp_path, True, {"seed": 1})
    again.keep(1, split(PLAN, 0.5))
    assert read_sealed(tmp_path / FILE) == {"seed": 1, "kept": {"1": digest(split(PLAN, 0.5))}}
    Memory(tmp_path, False, {"seed": 2}).begin()  # fit refuses that folder, and nothing is overwritten
    Memory(tmp_path, True, {"seed": 1}).keep(1, split(PLAN, 0.5))
    with pytest.raises(RunError, match="seed is 1 there and 2 here"):
        Memory(tmp_path, True, {"seed": 2})
    with pytest.raises(RunError, match="generation 1 kept"):
        Memory(tmp_path, True, {"seed": 1}).keep(1, split(PLAN, 0.25))
