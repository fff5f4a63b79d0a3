"""A program whose children run commands and are killed after some time of their own.

One JSON request per line on standard input, ``{"words": [...], "folder": ..., "seconds": ...}``; one JSON answer per
line on standard output: how the child ended, the processor time that it had, and what it told. What commands need is
imported once, and every child is forked from there.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning_fabric
import optuna
import sklearn.datasets
import torch

from mentorch.cli import _app, _training

NEEDED = (lightning_fabric, optuna, sklearn.datasets)  # loaded here, so that children need not


def run(request: dict[str, Any], out: Path) -> int:
    """In the child: one command, with everything it says in a file."""
    os.chdir(request["folder"])
    with out.open("w") as told, contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            _app.main(request["words"])
        except SystemExit as end:
            return int(end.code or 0)
    return 1


def watch(child: int, seconds: float | None) -> tuple[int, float]:
    """Kill a child once it has had so much processor time; how it ended, and the time that it had."""
    clock = (~child << 3) | 2  # Linux: the processor time of another process
    while seconds is not None:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        with contextlib.suppress(OSError):
            if time.clock_gettime(clock) >= seconds:
                os.kill(child, signal.SIGKILL)
                break
        time.sleep(0.0005)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def main() -> None:
    torch.set_num_threads(1)
    _training.CHECKPOINT_SECONDS = 0.0  # one after each epoch, however short
    for name in _app.COMMANDS:
        importlib.import_module(f"mentorch.cli.commands._{name}")
    for line in sys.stdin:
        request = json.loads(line)
        out = Path(request["folder"]) / "told.txt"
        child = os.fork()
        if not child:
            code = 1
            try:
                code = run(request, out)
            finally:
                os._exit(code)
        status, seconds = watch(child, request.get("seconds"))
        told = out.read_text() if out.exists() else ""
        sys.stdout.write(json.dumps({"status": status, "seconds": seconds, "told": told}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to tidy up, and on a busy machine tidying takes minutes
