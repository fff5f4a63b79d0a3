"""Who works on a trial, and what becomes of it when its worker dies.

A worker signs each trial and says from time to time that it lives. A trial whose worker is gone is put back in the
queue and only then given up, so that whoever dies in between leaves two entries of one graph and never none; the
second entry finds the first one's result. Works with every storage that Optuna has.
"""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 120.0
"""Of silence, after which a worker on another machine counts as dead; on this one its process is looked for."""


def signature() -> dict[str, Any]:
    """This process, as others can recognise it."""
    return {"host": _host(), "pid": os.getpid(), "started": _started(os.getpid())}


def dead(worker: dict[str, Any] | None, seen: float, seconds: float) -> bool:
    """Whether a worker is gone.

    Args:
        worker: its signature; None if it died before it could sign.
        seen: when it last said that it lives, in seconds since 1970.
        seconds: of silence that are too many.
    """
    if worker is not None and worker["host"] == _host():
        return bool(_started(worker["pid"]) != worker["started"])  # whatever the clock says, which may have been set
    return time.time() - seen > seconds


def _started(pid: int) -> str | None:
    """When a process of this machine was started, in a number of its own; None if it is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        return None if fields[0] in "ZX" else fields[19]  # a zombie waits for its parent, and works no more
    with contextlib.suppress(PermissionError):  # somebody else's process, but it lives
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return ""


@contextlib.contextmanager
def beating(trial: Any, seconds: float) -> Iterator[None]:
    """Say regularly that this process works on a trial."""
    over = threading.Event()

    def beat() -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        while not over.wait(seconds / 4):
            try:
                trial.set_user_attr("seen", time.time())
            except UpdateFinishedTrialError:  # given up by others: they will not listen any more
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def reap(study: Any, seconds: float) -> list[int]:
    """Put the trials of dead workers back in the queue; their numbers."""
    from optuna.trial import TrialState

    found = []
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if dead(trial.user_attrs.get("worker"), trial.user_attrs.get("seen", started), seconds):
                give_back(study, trial.number)
                found.append(trial.number)
    return found


def give_back(study: Any, number: int) -> None:
    """Queue what a trial was about again, then give it up."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    attributes = trials[number].user_attrs
    claimed = "graph" in attributes or "retry_of" in attributes
    if claimed and not any(trial.user_attrs.get("retry_of") == number for trial in trials):
        chosen = {**trials[number].system_attrs.get("fixed_params", {}), **trials[number].params}
        study.enqueue_trial(chosen, user_attrs={"retry_of": number})
    with contextlib.suppress(UpdateFinishedTrialError, ValueError):  # others were faster
        study.tell(number, state=TrialState.FAIL)


def _host() -> str:
    """This machine; in containers that share its name, processes have numbers of their own."""
    space = Path("/proc/self/ns/pid")
    return f"{platform.node()} {space.readlink() if space.exists() else ''}".strip()
