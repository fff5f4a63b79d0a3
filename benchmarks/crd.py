"""CPU time of a step of ``CRD`` against the gather form, with the same memory, negatives and values.

    python benchmarks/crd.py                                            # 50,000 samples, 16,384 negatives, batch of 64
    python benchmarks/crd.py --samples 2000 --negatives 500 --repeats 2  # a short form

A step is forward, backward and the move of the memory, in one thread; forms take turns. Each draws its negatives: ours
by hashing on the device; the gather form as its published loader does, sample by sample without replacement with numpy
(shown apart, as a loader may hide it in other processes). With ``--repdistiller FOLDER``, or in the environment
``REPDISTILLER=FOLDER``, a checkout of github.com/HobbitLong/RepDistiller, its own module is the gather form.
"""

import argparse
import os
import statistics
import sys
import time
import types
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch.losses import CRD


def gather_form(crd: CRD, student: Tensor, teacher: Tensor, index: Tensor, negatives: Tensor, log_z: Tensor) -> Tensor:
    """The definition, row by row of the memory: what the published code computes."""
    rows = torch.cat([index[:, None], negatives], 1)  # [N, 1 + K]
    pair = F.normalize(crd.student(student)), F.normalize(crd.teacher(teacher))
    noise = negatives.shape[1] / crd.samples
    total = 0.0
    for e, memory, z in zip(pair, (crd.teacher_memory, crd.student_memory), log_z.exp(), strict=True):
        chosen = memory.index_select(0, rows.flatten()).view(*rows.shape, -1)
        p = (torch.bmm(chosen, e.unsqueeze(2)).squeeze(2) / crd.temperature).exp() / z
        hit = p[:, 0] / (p[:, 0] + noise)
        miss = noise / (p[:, 1:] + noise)
        total = total - hit.log() - miss.log().sum(1)
    with torch.no_grad():
        for e, memory in zip(pair, (crd.student_memory, crd.teacher_memory), strict=True):
            memory.index_copy_(0, index, F.normalize(memory[index] * crd.momentum + e * (1 - crd.momentum)))
    return total


def draw(classes: np.ndarray, labels: Tensor, count: int) -> Tensor:
    """Negatives of each anchor among other classes, as a loader draws them."""
    others = [np.flatnonzero(classes != label) for label in range(classes.max() + 1)]
    began = time.process_time()
    rows = [np.random.choice(others[y], count, replace=count > len(others[y])) for y in labels.tolist()]
    draw.seconds = time.process_time() - began
    return torch.from_numpy(np.stack(rows))


def published(folder: str, asked: argparse.Namespace) -> Callable[..., Tensor]:
    """RepDistiller's module, on a CPU."""
    sys.path.insert(0, folder)
    from crd import memory
    from crd.criterion import CRDLoss

    memory.AliasMethod.cuda = lambda self: None
    names = {"s_dim": 64, "t_dim": 256, "feat_dim": 128, "nce_t": 0.07, "nce_m": 0.5}
    loss = CRDLoss(types.SimpleNamespace(**names, nce_k=asked.negatives, n_data=asked.samples))
    return lambda student, teacher, index, rows: loss(student, teacher, index, torch.cat([index[:, None], rows], 1))


def seconds(step: Callable[[], Tensor]) -> float:
    began = time.process_time()
    step().mean().backward()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"samples": 50_000, "negatives": 16_384, "batch": 64, "classes": 100, "repeats": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repdistiller", default=os.environ.get("REPDISTILLER"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classes = torch.randint(asked.classes, (asked.samples,))
    index = torch.randperm(asked.samples)[: asked.batch]
    student, teacher, labels = torch.randn(asked.batch, 64), torch.randn(asked.batch, 256), classes[index]
    batch = student, teacher, labels, index
    crd, shared = (CRD(samples=asked.samples, negatives=asked.negatives, shared=s).build(*batch) for s in (False, True))
    crd.classes.copy_(classes)
    shared.classes.copy_(classes)
    with torch.no_grad():
        _, same = crd._draw(crd.classes, labels, index)
        mine = crd.eval()(*batch)
        theirs = gather_form(crd, student, teacher, index, same, crd.log_z)
        crd.train()
    rows = draw(classes.numpy(), labels, asked.negatives)
    steps = {
        "gather form": lambda: gather_form(crd, student, teacher, index, rows, crd.log_z),
        "`CRD()`": lambda: crd(*batch),
        "`CRD(shared=True)`, one set of negatives for the batch": lambda: shared(*batch),
    }
    if asked.repdistiller:
        module = published(asked.repdistiller, asked)
        steps = {"RepDistiller": lambda: module(student, teacher, index, rows), **steps}
    times = {name: [] for name in steps}
    for _ in range(asked.repeats + 1):
        for name, step in steps.items():
            times[name].append(seconds(step))
    first = next(iter(times.values()))[1:]  # the first round warms up
    base, drawing = next(iter(times)), f"with its draws, {draw.seconds * 1e3:.0f} ms"
    print(f"largest relative difference of the values: {((mine - theirs) / theirs).abs().max():.1e}\n")
    print(f"| form | CPU ms per step | times faster than {base} | {drawing} |")
    print("|---|---|---|---|")
    for name, (_, *found) in times.items():
        counted = [[(a + extra) / b for a, b in zip(first, found, strict=True)] for extra in (0.0, draw.seconds)]
        ratios = " | ".join(f"{statistics.median(r):.1f} ({min(r):.1f} ... {max(r):.1f})" for r in counted)
        ours = "CRD" in name
        print(f"| {name} | {statistics.median(found) * 1e3:,.0f} | {ratios if ours else ' | '} |", flush=True)


if __name__ == "__main__":
    main()
