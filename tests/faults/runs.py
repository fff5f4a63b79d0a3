"""A small run of ``fit``, and commands in this process."""

import contextlib
import functools
import io
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, On, fit, freeze
from mentorch.cli import main
from mentorch.losses import hint, kd, pkt

TRAIN = ("train", "--network", "cnn_tiny", "--train-size", "60", "--batch-size", "20", "--epochs", "3", "--lr", "0.01")
TRAIN += ("--knn", "0", "--no-results", "--name", "r", "--quiet")


def call(*words: Any) -> tuple[int, str]:
    """Exit code of a command and its error: one line that was meant, or nothing."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    errors = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err.getvalue()
    assert "(unexpected: " not in err.getvalue()
    assert len(errors) == (1 if end.value.code else 0), err.getvalue()
    return int(end.value.code or 0), errors[0] if errors else ""


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


def graph(**losses: Any) -> Graph:
    """A student, a teacher, and an edge of every kind: labels, logits, features with an adapter, relations."""
    torch.manual_seed(0)
    known = {"ce": F.cross_entropy, "kd": kd, "hint": hint, "pkt": pkt} | losses
    edges = [
        Edge("labels", "student", known["ce"], name="ce"),
        Edge("teacher", "student", known["kd"], name="kd"),
        Edge("teacher.0", "student.0", known["hint"], adapter=nn.Linear(5, 6), name="hint"),
        Edge("teacher.2", "student.2", known["pkt"], name="pkt"),
    ]
    return Graph({"teacher": freeze(network(6)), "student": network(5)}, edges)


def data() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 4, generator=draw), torch.randint(0, 3, (6,), generator=draw)) for _ in range(4)]


def train(made: Graph, run: Path, train: Any = None, callbacks: tuple[On, ...] = ()) -> dict[str, Tensor]:
    """Three epochs of four steps, a checkpoint after every second one; the student in the end."""
    fit(
        made,
        data() if train is None else train,
        optimizer=functools.partial(torch.optim.Adam, lr=0.05),
        epochs=3,
        run=run,
        resume=True,
        checkpoint_every=2,
        log_every=1,
        tensorboard=False,
        callbacks=callbacks,
    )
    return made.nodes["student"].state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
