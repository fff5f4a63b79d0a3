"""What comparisons with other projects share: checkouts that are named, turns in one process, ratios with spread."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor

from mentorch.data import Batches


class AbsentError(Exception):
    """A peer that is not here, and why."""


def add_folders(parser: argparse.ArgumentParser, *names: str) -> None:
    """Options that name checkouts; the environment may name them too."""
    for name in names:
        parser.add_argument(f"--{name}", default=os.environ.get(name.upper()), metavar="FOLDER")


class Epoch:
    """One epoch's batches as a data loader."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return iter(self.batches.iterate(0))


@contextlib.contextmanager
def imported(folder: str | None, option: str, **stand_ins: object) -> Iterator[None]:
    """Modules of a checkout can be imported inside; ``stand_ins`` for what it imports and does not need here.

    Raises:
        AbsentError: if no folder is named.
    """
    if not folder:
        raise AbsentError(f"no checkout is named: --{option} FOLDER")
    with mock.patch.object(sys, "path", [folder, *sys.path]), mock.patch.dict(sys.modules, stand_ins):
        yield
        found = dict(sys.modules)
    sys.modules.update({name: module for name, module in found.items() if name not in stand_ins})


def import_torchvision() -> None:
    """Also one that was built for another torch: it brings no operators then, and misses their schemas."""
    with contextlib.suppress(RuntimeError):
        import torchvision

        return
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with contextlib.suppress(RuntimeError):
        import torchvision  # noqa: F401


def take_turns(
    loops: dict[str, Callable[[], tuple[float, Tensor]]], repeats: int, reference: str
) -> dict[str, list[float]]:
    """What each loop measures, round by round after one that warms up; whoever is absent is left out, and named.

    Args:
        loops: each gives its seconds and what it computed: how far it moved the weights, say; nothing, if that is not
            to be compared.
        repeats: rounds that count.
        reference: the loop whose result all others must have, to a hundredth of its length.
    """
    times: dict[str, list[float]] = {}
    absent: dict[str, str] = {}
    for round_ in range(repeats + 1):
        results: dict[str, Tensor] = {}
        for name, loop in loops.items():
            if name in absent:
                continue
            try:
                spent, results[name] = loop()
            except AbsentError as error:
                absent[name] = str(error)
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            if round_:
                times.setdefault(name, []).append(spent)
        for name, result in results.items():
            if result.numel() and (off := (result - results[reference]).norm() / results[reference].norm()) > 1e-2:
                raise SystemExit(f"{name} computes something else: its result is off by {off:.1e}")
    return times


def weights(*networks: torch.nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten() for network in networks for p in network.parameters()])
