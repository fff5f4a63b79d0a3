"""Data loaders whose workers die or fail: one line, and a run that goes on as if nothing had been."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mentorch import On, RunError
from mentorch.training import _checkpoint

from .runs import equal, graph, train

SAMPLES, BATCH = 24, 6  # four batches an epoch, a checkpoint after every second one


class Photos(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise that is drawn where they are loaded; while a file is there, one of them ends its worker.

    Before training any of them does, as only some are looked at then.
    """

    def __init__(self, armed: Path, how: str = "", *, any_sample: bool = False) -> None:
        self.armed, self.how, self.any_sample = armed, how, any_sample

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if (i == 7 or self.any_sample) and self.armed.exists():
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(f"cannot read photo-{i}.jpg:\nit is damaged")
        draw = torch.Generator().manual_seed(i)
        return torch.randn(4, generator=draw) + 0.1 * torch.randn(4), torch.tensor(i % 3)


def run(folder: Path, photos: Photos, *callbacks: On) -> dict[str, Tensor]:
    torch.manual_seed(3)
    order = torch.Generator().manual_seed(5)
    return train(graph(), folder, DataLoader(photos, BATCH, shuffle=True, num_workers=2, generator=order), callbacks)


@pytest.fixture(autouse=True)
def no_workers_left() -> Iterator[None]:
    """An error keeps the loader that it came through: its workers would hold what this process has open."""
    yield
    gc.collect()
    assert not multiprocessing.active_children()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What a run ends with whose workers live."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder / "r", Photos(folder / "never"))


@pytest.mark.parametrize(("how", "told"), [("killed", "a worker of the data loader died"), ("failed", "photo-")])
@pytest.mark.parametrize("after", [None, 0, 2], ids=["before training", "in the first epoch", "in the last epoch"])
def test_a_worker_that_ends_in_the_middle_costs_a_line(
    how: str, told: str, after: int | None, whole: dict[str, Tensor], tmp_path: Path, count: Callable[..., None]
) -> None:
    armed = tmp_path / "armed"
    photos = Photos(armed, how, any_sample=after is None)
    if after is None:
        armed.touch()
    begin = On("epoch", lambda _: armed.touch(), at=(after,)) if after else On("start", lambda _: armed.touch())
    with pytest.raises(RunError, match=told) as one:
        run(tmp_path / "r", photos, begin)
    assert "\n" not in str(one.value)
    assert ("before training" in str(one.value)) == (after is None)
    assert (how == "failed") == ("it is damaged" in str(one.value))
    kept = _checkpoint.steps(tmp_path / "r/checkpoints")
    assert ("checkpoint of step" in str(one.value)) == bool(kept)
    assert bool(kept) >= bool(after)
    armed.unlink()
    assert equal(run(tmp_path / "r", photos), whole)  # with the workers of before still there
    count(data_loader_workers_that_end=1)
