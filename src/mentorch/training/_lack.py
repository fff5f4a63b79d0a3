"""What ended a run from outside: memory, or a process that it relied on."""

import torch

_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def lack(error: BaseException) -> tuple[str, str] | None:
    """What was lacking, and what may help; None if the error is about something else.

    >>> lack(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))[0]
    'a worker of the data loader died (DataLoader worker (pid 7) is killed by signal: Killed.)'
    """
    text = " ".join(str(error).split())
    own = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if own or (isinstance(error, RuntimeError) and any(words in text for words in _MEMORY)):
        return "out of memory", "A smaller batch size with accumulate=, or precision='bf16-mixed', needs less"
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        return f"a worker of the data loader died ({text})", "Fewer workers need less memory"
    return None
