from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mentorch import RunError, fit
from mentorch.training._lack import lack


class Ends:
    """Gives one batch, and then an error."""

    def __init__(self, error: Exception):
        self.error = error

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(2, 4), torch.tensor([0, 1])
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_is_recognised_however_it_is_said(error: Exception) -> None:
    found = lack(error)
    assert found is not None
    assert found[0] == "out of memory"


def test_of_the_traceback_that_a_worker_sends_the_error_is_told() -> None:
    text = (
        "Caught OSError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 3, in load\n    raise OSError("no")\nOSError: no photo:\n  it is damaged'
    )
    found = lack(OSError(text))
    assert found is not None
    assert found[0] == "worker 1 of the data loader failed (OSError: no photo: it is damaged)"


def test_what_is_lacking_at_the_first_batch_is_named_too(linear) -> None:
    class Never(Ends):
        def __iter__(self) -> Iterator[Any]:
            raise self.error

    with pytest.raises(RunError, match=r"^out of memory at the first batch, before training"):
        fit(linear(), Never(MemoryError()), optimizer=sgd, epochs=1)


def test_other_errors_are_none_of_its_business() -> None:
    assert lack(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lack(ValueError("DataLoader worker")) is None


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1)


def test_what_is_lacking_is_one_line_with_where_and_what_is_kept(linear, tmp_path) -> None:
    error = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    with pytest.raises(RunError) as caught:
        fit(linear(), Ends(error), optimizer=sgd, epochs=2, run=tmp_path, checkpoint_every=1, tensorboard=False)
    assert str(caught.value) == (
        "a worker of the data loader died (DataLoader worker (pid(s) 7) exited unexpectedly) in epoch 1, "
        "after step 1 of 6; the checkpoint of step 1 is from before. Fewer workers need less memory"
    )


def test_errors_of_the_caller_stay_what_they_are(linear) -> None:
    with pytest.raises(KeyError, match="mine"):
        fit(linear(), Ends(KeyError("mine")), optimizer=sgd, epochs=1)
