"""CPU time of a step of ``CRD`` against the gather form, with the same memory, negatives and values.

    python benchmarks/crd.py                                  # 50,000 samples, 16,384 negatives, batch of 64
    python benchmarks/crd.py --samples 2000 --negatives 500   # a short form

A step is forward, backward and the move of the memory, in one thread; the number is the least CPU time of the
repeats. Both draw their negatives: ours by hashing on the device; the gather form as its published loader does, sample
by sample without replacement with numpy (shown apart, as a loader may hide it in other processes), and with the
indices given.
"""

import argparse
import time

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
    others = {label: np.flatnonzero(classes != label) for label in set(labels.tolist())}
    began = time.process_time()
    rows = [np.random.choice(others[y], count, replace=count > len(others[y])) for y in labels.tolist()]
    draw.seconds = time.process_time() - began
    return torch.from_numpy(np.stack(rows))


def least(step, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"samples": 50_000, "negatives": 16_384, "batch": 64, "classes": 100, "repeats": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classes = torch.randint(asked.classes, (asked.samples,))
    index = torch.randperm(asked.samples)[: asked.batch]
    student, teacher, labels = torch.randn(asked.batch, 64), torch.randn(asked.batch, 256), classes[index]
    batch = student, teacher, labels, index
    forms = [
        CRD(samples=asked.samples, negatives=asked.negatives, shared=shared).build(*batch) for shared in (False, True)
    ]
    crd = forms[0]
    for form in forms:
        form.classes.copy_(classes)
    with torch.no_grad():
        _, same = crd._draw(crd.classes, labels, index)
        mine = crd.eval()(*batch)
        theirs = gather_form(crd, student, teacher, index, same, crd.log_z)
        crd.train()
    negatives = draw(classes.numpy(), labels, asked.negatives)

    def gather() -> None:
        gather_form(crd, student, teacher, index, negatives, crd.log_z).mean().backward()

    gathered = least(gather, asked.repeats)
    print(f"{asked.samples} samples, {asked.negatives} negatives, batch of {asked.batch}, one thread")
    print(f"largest relative difference of the values  {((mine - theirs) / theirs).abs().max():.1e}")
    print(f"gather form, negatives given      {gathered * 1e3:8.1f} ms")
    print(f"  with negatives from the loader  {(gathered + draw.seconds) * 1e3:8.1f} ms")
    for name, form in zip(("CRD, draws included", "CRD(shared=True)"), forms, strict=True):
        seconds = least(lambda form=form: form(*batch).mean().backward(), asked.repeats)
        ratios = f"{gathered / seconds:5.1f} x, {(gathered + draw.seconds) / seconds:5.1f} x with the loader's draws"
        print(f"{name:<32}  {seconds * 1e3:8.1f} ms   {ratios}")


if __name__ == "__main__":
    main()
