"""A program that trains in children which die on request: torch is imported once, every run is forked from there.

One JSON request per line on standard input, one JSON answer per line on standard output. A request names a case, a run
folder, and how the child ends early; the answer is the child's exit status and what it left in words.
"""

import functools
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
from typing import Any

import lightning_fabric
import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.tensorboard  # loaded here, so that children need not
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mentorch import Edge, Graph, On, fit, freeze, gates
from mentorch.data import Batches, Compose, Cutout, Flip, Split
from mentorch.losses import hint, kd
from mentorch.training import Plateau, _checkpoint

SAMPLES, CLASSES, SIZE = 44, 5, 8


class Widen(nn.Module):
    """An adapter that owns weights and a batch norm, built from the first batch."""

    def build(self, student: Tensor, teacher: Tensor) -> None:
        self.layer = nn.Sequential(nn.Conv2d(student.shape[1], teacher.shape[1], 1), nn.BatchNorm2d(teacher.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Augmented(torch.utils.data.Dataset):
    """Samples that are changed by every global generator there is."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        noise = torch.rand(1, SIZE, SIZE) * 0.1 + random.random() * 0.1 + float(np.random.normal()) * 0.1
        return self.split.images[i] / 255 + noise, self.split.labels[i], self.split.index[i]


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, CLASSES),
    )


def split(seed: int, samples: int = SAMPLES) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (samples, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, CLASSES, (samples,), generator=generator), torch.arange(samples))


def distillation(students: tuple[str, ...] = ("student",)) -> Graph:
    edges = []
    for name in students:
        edges += [
            Edge("labels", name, F.cross_entropy, 0.5),
            Edge("teacher", name, functools.partial(kd, temperature=4.0), gates.Linear(0.2, 1.0)),
            Edge("teacher.1", f"{name}.1", hint, gates.Between(0.0, 0.6), adapter=Widen()),
        ]
    edges += [Edge(a, b, kd, 0.1, name=f"{a} to {b}") for a in students for b in students if a != b]
    torch.manual_seed(1)
    nodes = {"teacher": freeze(network(6)), **{name: network(4 + i) for i, name in enumerate(students)}}
    return Graph(nodes, edges, example=next(iter(Batches(split(0), 8))))


def tensors(part: Split, **options: Any) -> DataLoader:
    rows = list(zip(part.images / 255, part.labels, part.index, strict=True))
    return DataLoader(rows, batch_size=8, **options)


def batches() -> dict[str, Any]:
    """Our own data; one optimiser for all, everything switched on."""
    augment = Compose((Flip(), Cutout(3)))
    return {
        "graph": distillation(),
        "train": Batches(split(0), 8, shuffle=True, augment=augment, seed=5),
        "validation": Batches(split(1), 16),
        "optimizer": functools.partial(torch.optim.Adam, lr=0.02, weight_decay=1e-3),
        "schedule": [gates.Warmup(0.2, gates.Cosine()), Plateau(factor=0.5, patience=0)],
        "select": "best",
        "accumulate": 2,
        "ema": 0.8,
        "clip_norm": 1.0,
        "epochs": 6,
        "checkpoint_every": 1,
    }


def loader() -> dict[str, Any]:
    """Foreign data in an order from the global generator; an optimiser and a schedule per node."""
    graph = distillation(("a", "b"))
    first = torch.optim.SGD(graph.parameters_of("a"), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    return {
        "graph": graph,
        "train": tensors(split(0), shuffle=True),
        "validation": tensors(split(1), shuffle=True),
        "optimizer": {"a": first, "b": functools.partial(torch.optim.Adam, lr=0.01)},
        "schedule": {"a": torch.optim.lr_scheduler.MultiStepLR(first, [1, 3]), "b": gates.Steps((0.3, 0.6))},
        "epochs": 5,
        "checkpoint_every": 2,
    }


def augmented() -> dict[str, Any]:
    """Augmentation that draws from torch, Python and NumPy, in bfloat16."""
    return {
        "graph": distillation(),
        "train": DataLoader(Augmented(split(0)), batch_size=8, shuffle=True, drop_last=True),
        "validation": DataLoader(Augmented(split(1)), batch_size=8),
        "optimizer": functools.partial(torch.optim.AdamW, lr=0.02),
        "schedule": Plateau(factor=0.5, patience=1),
        "precision": "bf16-mixed",
        "epochs": 6,
        "checkpoint_every": 2,
    }


def scaled() -> dict[str, Any]:
    """A loader with its own generator; half precision, whose loss scale moves, with two optimisers."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    return {
        "graph": distillation(("a", "b")),
        "train": tensors(split(0), shuffle=True, generator=torch.Generator().manual_seed(9)),
        "optimizer": {
            "a": functools.partial(torch.optim.Adam, lr=0.01),
            "b": functools.partial(torch.optim.RMSprop, lr=0.01, momentum=0.5),
        },
        "schedule": {"b": gates.Cosine()},
        "fabric": lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=precision),
        "clip_value": 0.5,
        "epochs": 5,
        "checkpoint_every": 1,
    }


CASES = {case.__name__: case for case in (batches, loader, augmented, scaled)}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(number: int, function: Any) -> Any:
    """Calls ``function`` at the ``number``-th call."""
    count = iter(range(1, sys.maxsize))
    return lambda *_: function() if next(count) == number else None


def prepare(end: dict[str, int], graph: Graph) -> list[On]:
    """Arrange for the end that was asked for; numbers count from 1, within this process."""
    callbacks = []
    if "step" in end:
        callbacks.append(On("step", on_call(end["step"], die)))
    if "forward" in end:  # in the middle of a step, and of a group of batches
        graph.nodes["teacher"].register_forward_hook(on_call(end["forward"], die))
    if "interrupt" in end:
        callbacks.append(On("step", on_call(end["interrupt"], lambda: os.kill(os.getpid(), signal.SIGINT))))
    if "write" in end:  # half a file
        hit, whole = on_call(end["write"], lambda: True), _checkpoint._write

        def half(path: pathlib.Path, data: bytes) -> None:
            if hit():
                path.write_bytes(data[: len(data) // 2])
                die()
            whole(path, data)

        _checkpoint._write = half
    if "rename" in end:  # everything written, not yet in place
        hit, rename = on_call(end["rename"], lambda: True), pathlib.Path.rename

        def renamed(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
            if self.parent.name == "checkpoints" and hit():
                die()
            return rename(self, target)

        pathlib.Path.rename = renamed
    if "remove" in end:  # an earlier checkpoint half removed
        hit, remove = on_call(end["remove"], lambda: True), shutil.rmtree

        def removed(path: Any, *args: Any, **options: Any) -> None:
            if hit():
                next(pathlib.Path(path).iterdir()).unlink()
                die()
            remove(path, *args, **options)

        shutil.rmtree = removed
    return callbacks


def digest(value: Any, path: str = "") -> dict[str, str]:
    """Every leaf of nested data by path; tensors by dtype, shape and bytes; wall time left out."""
    if isinstance(value, dict):
        parts = [digest(item, f"{path}/{key}") for key, item in value.items() if key not in ("seconds", "checkpoints")]
        return {name: leaf for part in parts for name, leaf in part.items()}
    if isinstance(value, list | tuple):
        return {name: leaf for i, item in enumerate(value) for name, leaf in digest(item, f"{path}/{i}").items()}
    if isinstance(value, Tensor):
        data = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        value = f"{value.dtype} {list(value.shape)} {hashlib.sha256(data).hexdigest()}"
    return {path: repr(value)}


def train(request: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    case = CASES[request["case"]]()
    end: list[dict[str, Any]] = []
    callbacks = [*prepare(request.get("end", {}), case["graph"])]
    callbacks.append(On("end", lambda training: end.append(training.state(getattr(precision, "scaler", None)))))
    fabric = case.get("fabric")
    precision = fabric.strategy.precision if fabric else None
    torch.manual_seed(4)
    run = request.get("run")
    options = {"resume": request.get("resume", True), "run": run} if run else {"checkpoint_every": None}
    history = fit(**{**case, **options}, callbacks=callbacks, tensorboard=False, log_every=3, progress=False)
    nodes = {name: case["graph"].nodes[name].state_dict() for name in case["graph"].learning}
    return {"state": digest(end[0]), "nodes": digest(nodes), "history": digest(vars(history))}


def plain(batch_size: int, **options: Any) -> dict[str, Any]:
    """A run whose result depends on what is in a batch, not on how it is divided: no batch norm, no dropout."""
    torch.manual_seed(1)
    student = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    nodes = {"teacher": freeze(network(6)), "student": student}
    edges = [Edge("labels", "student", F.cross_entropy), Edge("teacher", "student", kd)]
    graph = Graph(nodes, edges)
    history = fit(
        graph,
        Batches(split(0), batch_size, shuffle=True, seed=2),
        optimizer=functools.partial(torch.optim.SGD, lr=0.2, momentum=0.9),
        schedule=gates.Linear(1.0, 0.0),
        epochs=3,
        validation=Batches(split(1), 16),
        log_every=2,
        **options,
    )
    weights = {name: value.tolist() for name, value in student.state_dict().items()}
    return {"records": history.records, "samples": history.samples, "weights": weights}


def spread(request: dict[str, Any]) -> dict[str, Any]:
    """The same run in two processes, and what each of them ended with."""
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")

    def each(fabric: lightning_fabric.Fabric) -> list[Any]:
        torch.set_num_threads(1)
        ends: list[Any] = [None, None]
        mine = plain(8, fabric=fabric, run=request["run"], checkpoint_every=2, progress=False)
        torch.distributed.all_gather_object(ends, mine)
        return ends

    return {"ranks": fabric.launch(each), "alone": plain(16, progress=False)}


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "answer.json"
            child = os.fork()
            if not child:
                try:
                    answer = spread(request) if request["case"] == "spread" else train(request)
                except (Exception, KeyboardInterrupt) as error:
                    answer = {"error": type(error).__name__, "message": str(error)}
                out.write_text(json.dumps(answer))
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            left = json.loads(out.read_text()) if out.exists() else {}
        sys.stdout.write(json.dumps({"status": status, **left}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
