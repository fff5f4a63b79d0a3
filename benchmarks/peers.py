"""Distillation by ``fit`` beside torchdistill, mdistiller, RepDistiller and a loop written by hand.

    make .venv-peers/installed   # torchdistill comes from PyPI; the other two are checkouts, nothing of them is in here
    .venv-peers/bin/python benchmarks/peers.py --mdistiller FOLDER --repdistiller FOLDER
    python benchmarks/peers.py --pairs resnet56 --steps 2 --repeats 1   # a short form; who is absent is left out

The same networks with the same weights, the same batches (of ``mentorch.data``, augmented), the same optimiser and loss
(KD: temperature 4, 0.9 beside 0.1 on the labels), as each project trains. CPU time of the whole step with its data,
loops taking turns in one process; images per CPU second, the median of the rounds, and the median (lowest ... highest)
of how many times as fast as the first of the peers each was in the same round.

``channels_first`` and float32 is what all projects use, and how the loops above the options train. That all end with
the same student is checked, also for options that are float32: networks in channels-last format, compiled, with the
teacher's cache filled. *Teacher in bf16* has a student in float32, *bf16* has all maps in bfloat16; both are only
timed. In the round that warms up networks are compiled and caches filled. Folders may also stand in the environment, as
``MDISTILLER`` and ``REPDISTILLER``.
"""

import argparse
import copy
import functools
import statistics
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import torch
import torch.nn.functional as F
from _machine import keep_memory, machine
from _peers import AbsentError, Epoch, add_folders, import_torchvision, imported, take_turns, weights
from _steps import spread
from torch import Tensor, nn

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, Compose, Flip, PadCrop, Split
from mentorch.training import TeacherCache

PAIRS = {"resnet32x4": ("resnet32x4", "resnet8x4"), "resnet56": ("resnet56", "resnet20")}
CLASSES, TEMPERATURE, LABELS = 100, 4.0, 0.1
SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)


@dataclass
class Job:
    """What every loop is given: fresh networks, and the batches of one epoch."""

    teacher: nn.Module
    student: nn.Module
    batches: Batches
    folders: dict[str, str | None]
    cache: str
    compared: bool = True

    def clock(self) -> Callable[[], float]:
        """CPU seconds per batch from now."""
        began = time.process_time()
        return lambda: (time.process_time() - began) / len(self.batches)


class WithFeatures(nn.Module):
    """A network that also returns features, as mdistiller and RepDistiller ask; nobody reads them for this loss."""

    def __init__(self, network: nn.Module, logits_first: bool):
        super().__init__()
        self.network, self.logits_first = network, logits_first

    def forward(self, inputs: Tensor, is_feat: bool = False, preact: bool = False) -> tuple[object, object]:
        logits = self.network(inputs)
        return (logits, {}) if self.logits_first else ([], logits)


def by_hand(job: Job) -> float:
    optimizer = SGD(job.student.parameters())
    job.student.train()
    spent = job.clock()
    for images, labels, _ in job.batches.iterate(0):
        with torch.no_grad():
            target = F.log_softmax(job.teacher(images) / TEMPERATURE, dim=1)
        output = job.student(images)
        soft = F.kl_div(F.log_softmax(output / TEMPERATURE, 1), target, log_target=True, reduction="batchmean")
        loss = LABELS * F.cross_entropy(output, labels) + (1 - LABELS) * TEMPERATURE**2 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return spent()


def by_torchdistill(job: Job) -> float:
    """With the loop of its examples."""
    try:
        import_torchvision()
        from torchdistill.core.distillation import DistillationBox
    except ModuleNotFoundError as error:
        raise AbsentError("torchdistill is not installed: make .venv-peers/installed") from error
    logits = {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in _LOGITS.items()}
    kd = {"key": "KDLoss", "kwargs": {**logits, "temperature": TEMPERATURE, "alpha": LABELS}}
    sgd = {"key": "SGD", "kwargs": dict(SGD.keywords)}
    box = DistillationBox(
        job.teacher,
        job.student,
        {},
        {
            "num_epochs": 1,
            "train_data_loader": {},
            "val_data_loader": {},
            "teacher": {"requires_grad": False, "sequential": [], "forward_proc": "forward_batch_only"},
            "student": {"requires_grad": True, "sequential": [], "forward_proc": "forward_batch_only"},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
            "optimizer": sgd,
        },
        torch.device("cpu"),
        None,
        False,
        1.0,
    )
    box.student_model.train()
    box.teacher_model.eval()
    spent = job.clock()
    for images, labels, _ in job.batches.iterate(0):
        loss = box.forward_process(images, labels, None)
        box.post_forward_process(loss)
        loss.item()
    return spent()


_LOGITS = {"path": ".", "io": "output"}


def by_mdistiller(job: Job) -> float:
    """Its trainer's step, on a CPU."""
    with imported(job.folders["mdistiller"], "mdistiller", tensorboardX=mock.Mock()):
        from mdistiller.distillers.KD import KD
        from mdistiller.engine.trainer import BaseTrainer
        from mdistiller.engine.utils import AverageMeter
    weights = types.SimpleNamespace(CE_WEIGHT=LABELS, KD_WEIGHT=1 - LABELS)
    config = types.SimpleNamespace(KD=types.SimpleNamespace(TEMPERATURE=TEMPERATURE, LOSS=weights))
    distiller = KD(WithFeatures(job.student, True), WithFeatures(job.teacher, True), config)
    trainer = types.SimpleNamespace(distiller=distiller, optimizer=SGD(distiller.get_learnable_parameters()))
    meters = {name: AverageMeter() for name in ("training_time", "data_time", "losses", "top1", "top5")}
    distiller.train()
    with mock.patch.object(Tensor, "cuda", lambda self, **_: self):
        spent = job.clock()
        for batch in job.batches.iterate(0):
            BaseTrainer.train_iter(trainer, batch, 1, meters)
        return spent()


def by_repdistiller(job: Job) -> float:
    """Its loop over an epoch."""
    with imported(job.folders["repdistiller"], "repdistiller"):
        from distiller_zoo.KD import DistillKL
        from helper.loops import train_distill
    modules = [WithFeatures(network, False) for network in (job.student, job.teacher)]
    losses = [nn.CrossEntropyLoss(), DistillKL(TEMPERATURE), None]
    options = types.SimpleNamespace(distill="kd", gamma=LABELS, alpha=1 - LABELS, beta=0.0, print_freq=2**31)
    with warnings.catch_warnings(), mock.patch("builtins.print"):
        warnings.simplefilter("ignore")
        spent = job.clock()
        train_distill(1, Epoch(job.batches), modules, losses, SGD(job.student.parameters()), options)
        return spent()


def by_fit(
    job: Job, *, cached: bool = False, teacher: torch.dtype | None = None, compared: bool = True, **options: object
) -> float:
    """With options of ``fit``; results of other precisions are not compared."""
    kd = functools.partial(mt.losses.kd, temperature=TEMPERATURE)
    frozen = mt.freeze(job.teacher, precision=teacher)
    graph = mt.methods.distill(job.student, frozen, (kd, 1 - LABELS), labels=LABELS)
    job.compared = compared
    clock: list[Callable[[], float]] = []
    seconds: list[float] = []
    cache = TeacherCache(f"{job.cache}/{sorted(options)}") if cached else None
    callbacks = [
        mt.On("start", lambda _: clock.append(job.clock())),
        mt.On("epoch", lambda _: seconds.append(clock[0]())),
    ]
    given = {"optimizer": SGD, "epochs": 1, "callbacks": callbacks, "cache": cache}
    mt.fit(graph, job.batches, device="cpu", progress=False, **given, **options)
    return seconds[0]


LAST, COMPILED = {"channels_last": True}, {"compile": True}
HALF = {"precision": "bf16-mixed", "compared": False}
HALF_TEACHER = {"teacher": torch.bfloat16, "compared": False}
OPTIONS: dict[str, dict[str, object]] = {
    "`fit`": {},
    "`fit`, channels-last": LAST,
    "`fit`, compiled": COMPILED,
    "`fit`, channels-last, teacher in bf16": LAST | HALF_TEACHER,
    "`fit`, compiled, teacher in bf16": COMPILED | HALF_TEACHER,
    "`fit`, channels-last, bf16": LAST | HALF,
    "`fit`, cached": {"cached": True},
    "`fit`, channels-last, cached": LAST | {"cached": True},
    "`fit`, compiled, cached": COMPILED | {"cached": True},
    "`fit`, channels-last, bf16, cached": LAST | HALF | {"cached": True},
}
LOOPS: dict[str, Callable[[Job], float]] = {
    "torchdistill": by_torchdistill,
    "mdistiller": by_mdistiller,
    "RepDistiller": by_repdistiller,
    "loop by hand": by_hand,
    **{name: functools.partial(by_fit, **options) for name, options in OPTIONS.items()},
}


def prepared(pair: str, batch_size: int, steps: int) -> Callable[[str], Job]:
    """Makes jobs that are alike; the teacher has seen some batches, so that its statistics mean something."""
    torch.manual_seed(0)
    teacher, student = (networks.build(name, num_classes=CLASSES) for name in PAIRS[pair])
    count = batch_size * steps
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.randint(0, CLASSES, (count,)), torch.arange(count))
    augment = Compose((PadCrop(4), Flip()))
    batches = Batches(split, batch_size, shuffle=True, augment=augment, views=1)
    with torch.no_grad():
        teacher(next(iter(batches)).inputs)
    return lambda cache: Job(copy.deepcopy(teacher).eval(), copy.deepcopy(student), batches, FOLDERS, cache)


FOLDERS: dict[str, str | None] = {}


def measure(pair: str, options: argparse.Namespace) -> None:
    """Print the rows of a pair."""
    make = prepared(pair, options.batch_size, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: functools.partial(run, LOOPS[name], make, folder) for name in options.loops}
        times = take_turns(loops, options.repeats, options.loops[0] if "`fit`" not in options.loops else "`fit`")
    base = next(iter(times))
    for name, series in times.items():
        faster = spread(times[base], series) if name != base else ""
        speed, step = options.batch_size / statistics.median(series), 1e3 * statistics.median(series)
        start = f"| {' -> '.join(PAIRS[pair])} | {options.threads} | {name} |"
        print(f"{start} {step:.0f} | {speed:.0f} | {faster} |", flush=True)


def run(loop: Callable[[Job], float], make: Callable[[str], Job], folder: str) -> tuple[float, Tensor]:
    """Seconds of a loop, and how far it moved the student."""
    job = make(folder)
    start = weights(job.student)
    spent = loop(job)
    return spent, weights(job.student) - start if job.compared else torch.empty(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=list(LOOPS), metavar="LOOP")
    add_folders(parser, "mdistiller", "repdistiller")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    FOLDERS.update(mdistiller=options.mdistiller, repdistiller=options.repdistiller)
    print(f"{machine()}\n")
    print(
        "| networks | threads | loop | CPU ms per step | images per CPU second | times the first peer's (min ... max) |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for pair in options.pairs:
        measure(pair, options)


if __name__ == "__main__":
    main()
