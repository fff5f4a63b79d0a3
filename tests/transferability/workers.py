"""Work that brings its process down; a module of its own, so that other processes can import it."""

import os
import signal
from pathlib import Path

import torch
from torch import Tensor

from mentorch import zoo


def work(entry: zoo.Entry) -> tuple[Tensor, Tensor]:
    """By name: ``fatal`` kills its process each time, ``once`` the first time, ``bad`` raises."""
    marker = Path(entry.folder)
    if entry.name == "fatal" or (entry.name == "once" and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if entry.name == "bad":
        raise ValueError("no such thing")
    return torch.tensor([float(os.getpid()), torch.get_num_threads()]), torch.zeros(1)
