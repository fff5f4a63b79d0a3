"""What benchmarks of a step share: the time of one through ``fit``, memory in a process of its own, ratios."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

import mentorch as mt


def kd_by_hand(output: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Distillation at temperature 4, 0.9 beside 0.1 on the labels, as one would write it down."""
    log_q, log_p = (F.log_softmax(logits / 4.0, dim=1) for logits in (output, target))
    soft = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    return 0.1 * F.cross_entropy(output, labels) + 0.9 * 16.0 * soft


def step_of_fit(graph: mt.Graph, batches: mt.data.Batches, **options: Any) -> float:
    """CPU seconds of a step of one epoch of ``fit``, without what happens once per run."""
    clock: dict[str, float] = {}
    callbacks = [
        mt.On("start", lambda _: clock.update(start=time.process_time())),
        mt.On("epoch", lambda _: clock.update(end=time.process_time())),
    ]
    mt.fit(graph, batches, epochs=1, callbacks=callbacks, progress=False, device="cpu", **options)
    return (clock["end"] - clock["start"]) / len(batches)


def peak_of(script: str, loops: Sequence[str], *words: object) -> str:
    """Peak resident memory in MiB of a fresh process for each loop, which prints it for ``--memory LOOP``."""
    commands = [[sys.executable, script, "--memory", loop, *map(str, words)] for loop in loops]
    said = [subprocess.run(each, check=True, capture_output=True, text=True).stdout for each in commands]
    return " / ".join(f"{float(text):.0f}" for text in said)


def spread(base: Sequence[float], series: Sequence[float], digits: int = 2) -> str:
    """``base`` over ``series``, round by round: median (lowest ... highest)."""
    ratios = [a / b for a, b in zip(base, series, strict=True)]
    return " ".join(
        (
            f"{statistics.median(ratios):.{digits}f}",
            f"({min(ratios):.{digits}f} ... {max(ratios):.{digits}f})",
        )
    )
