"""What ended a run from outside: memory, or a process that it relied on."""

import contextlib
import re
from collections.abc import Callable, Iterator

import torch

from mentorch._errors import RunError

_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_IN_A_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.\n")


def lack(error: BaseException) -> tuple[str, str] | None:
    """What was lacking, and what may help; None if the error is about something else.

    >>> lack(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))[0]
    'a worker of the data loader died (DataLoader worker (pid 7) is killed by signal: Killed.)'
    """
    text = " ".join(str(error).split())
    if found := _IN_A_WORKER.match(str(error)):
        *_, said = re.split(rf"^(?=[\w.]*{found[1]}\b)", str(error), flags=re.MULTILINE)  # a traceback is before it
        return (
            f"worker {found[2]} of the data loader failed ({' '.join(said.split())})",
            "Without workers it shows where",
        )
    own = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if own or (isinstance(error, RuntimeError) and any(words in text for words in _MEMORY)):
        return "out of memory", "A smaller batch size with accumulate=, or precision='bf16-mixed', needs less"
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        return f"a worker of the data loader died ({text})", "Fewer workers need less memory"
    return None


@contextlib.contextmanager
def named(where: Callable[[], str]) -> Iterator[None]:
    """What was lacking in one line, with where it was; other errors as they are.

    Raises:
        RunError: if something was lacking.
    """
    try:
        yield
    except Exception as error:
        if (found := lack(error)) is None:
            raise
        what, advice = found
        raise RunError(f"{what} {where()}. {advice}") from error
