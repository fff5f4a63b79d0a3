"""Data loaders whose workers die or fail: one line, and a run that goes on as if nothing had been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mentorch import RunError
from mentorch.training import _checkpoint

from .runs import equal, graph, train

SAMPLES, BATCH = 24, 6  # four batches an epoch, a checkpoint after every second one


class Photos(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise that is drawn where they are loaded; one of them is the end of its worker, once."""

    def __init__(self, mark: Path, how: str = "", at: int = -1) -> None:
        self.mark, self.how, self.at = mark, how, at

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        with self.mark.open("ab") as asked:  # who writes the last byte is the one
            asked.write(b".")
            asked.flush()
            if os.lseek(asked.fileno(), 0, os.SEEK_CUR) == self.at:
                if self.how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(f"cannot read photo-{i}.jpg:\nit is damaged")
        draw = torch.Generator().manual_seed(i)
        return torch.randn(4, generator=draw) + 0.1 * torch.randn(4), torch.tensor(i % 3)


def run(folder: Path, photos: Photos) -> dict[str, Tensor]:
    torch.manual_seed(3)
    order = torch.Generator().manual_seed(5)
    return train(graph(), folder, DataLoader(photos, BATCH, shuffle=True, num_workers=2, generator=order))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What a run ends with whose workers live."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder / "r", Photos(folder / "asked"))


@pytest.mark.parametrize(("how", "told"), [("killed", "a worker of the data loader died"), ("failed", "photo-")])
@pytest.mark.parametrize("at", [3, 60, 85])  # samples that were loaded: 24 for a trial, then three epochs of 24
def test_a_worker_that_ends_in_the_middle_costs_a_line(
    how: str, told: str, at: int, whole: dict[str, Tensor], tmp_path: Path, count: Callable[..., None]
) -> None:
    with pytest.raises(RunError, match=told) as one:
        run(tmp_path / "r", Photos(tmp_path / "asked", how, at))
    assert "\n" not in str(one.value)
    assert ("before training" in str(one.value)) == (at < 24)
    assert (how == "failed") == ("it is damaged" in str(one.value))
    kept = _checkpoint.steps(tmp_path / "r/checkpoints")
    assert ("checkpoint of step" in str(one.value)) == bool(kept) == (at > 24)
    assert equal(run(tmp_path / "r", Photos(tmp_path / "asked")), whole)  # with the workers of before still there
    count(data_loader_workers_that_end=1)
