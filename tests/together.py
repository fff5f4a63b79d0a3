"""A program that runs things in processes which find themselves as ``torchrun`` would have started them.

One JSON request per line on standard input: the name of a function below, its arguments, and how many processes; one
JSON answer per line on standard output: what each of them returned, or why it ended. torch is imported once, and the
processes are forked from there.
"""

import atexit
import contextlib
import functools
import io
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import lightning_fabric  # noqa: F401  here, so that the processes need not
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from mentorch import Edge, Graph, On, _processes, fit, freeze, gates, losses, methods
from mentorch.cli import main as mentorch
from mentorch.data import Batches, Split
from mentorch.structure import plan, split
from mentorch.training import TeacherCache, evaluate
from mentorch.training._weights import copied

SAMPLES, CLASSES, BATCH, GRACE = 44, 4, 16, 10.0


class Widen(nn.Module):
    """An adapter that is built from the first batch."""

    def build(self, student: Tensor, teacher: Tensor) -> None:
        self.layer = nn.Linear(student.shape[1], teacher.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def network(width: int, seed: int, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, CLASSES))


def samples(seed: int, count: int = SAMPLES) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, CLASSES, (count,), generator=generator), torch.arange(count))


def batches(size: int = BATCH) -> Batches:
    return Batches(samples(0), _processes.share(size), shuffle=True, seed=2)


def shard(net: nn.Sequential) -> nn.Sequential:
    """Every process holds a part of each layer."""
    _processes.join()
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (_processes.world(),))
    for layer in net:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def distillation(dropout: float = 0.0, *, sharded: bool = False) -> Graph:
    """Labels, logits, relations and features, some of them at times; the adapter is drawn differently everywhere."""
    student, teacher = network(6, 1, dropout), network(8, 2)
    if sharded:
        student, teacher = shard(student), shard(teacher)
    torch.manual_seed(100 + _processes.rank() if dropout == 0 else 100)
    edges = [
        Edge("labels", "student", F.cross_entropy),
        Edge("teacher", "student", losses.kd, gates.Between(0.3, 1.0)),
        Edge("teacher.1", "student.1", losses.pkt, 10.0),
        Edge("teacher.1", "student.1", losses.hint, gates.Between(0.0, 0.6), adapter=Widen()),
    ]
    return Graph({"teacher": freeze(teacher), "student": student}, edges)


def mutual() -> Graph:
    """Two that learn; nobody teaches ``b`` in the second half of each epoch."""
    edges = [
        Edge("labels", "a", F.cross_entropy),
        Edge("b", "a", losses.kd, 0.5),
        Edge("labels", "b", F.cross_entropy, Odd()),
    ]
    return Graph({"a": network(6, 1), "b": network(5, 2)}, edges)


class Odd:
    """A gate that is closed at every other step of nine."""

    def __call__(self, progress: float) -> float:
        return float(round(progress * 8) % 2)


def options(**more: Any) -> dict[str, Any]:
    return {
        "optimizer": functools.partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=1e-2),
        "schedule": gates.Linear(1.0, 0.0),
        "epochs": 3,
        "validation": Batches(samples(1, 33), 16),
        "log_every": 2,
        "tensorboard": False,
        "progress": False,
        **more,
    }


def ended(graph: Graph, history: Any) -> dict[str, Any]:
    weights = {
        f"{name}.{key}": value.tolist() for name in graph.learning for key, value in copied(graph.nodes[name]).items()
    }
    records = [{**record, "seconds": 0} for record in history.records]
    return {"weights": weights, "records": records, "samples": history.samples, "after": torch.rand(2).tolist()}


def trained(kind: str, size: int = BATCH, **more: Any) -> dict[str, Any]:
    """A training by name; with ``at``, every process is killed after so many steps."""
    if kind in ("mutual", "alternating"):
        graph = mutual()
    else:
        graph = distillation(0.3 if kind == "dropout" else 0.0, sharded=kind == "sharded")
    given: dict[str, Any] = {}
    if kind == "alternating":
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        given = {"update": "alternating", "optimizer": dict.fromkeys(("a", "b"), sgd)}
    if kind == "everything":
        given = {"accumulate": 2, "clip_norm": 0.5, "ema": 0.8, "epochs": 4}
    if kind in ("clipped", "sharded"):
        given = {"clip_norm": 0.5, "select": "best"}
    if kind == "cached":
        given = {"cache": TeacherCache(more.pop("cache"))}
    at = more.pop("at", None)
    if at is not None:
        given["callbacks"] = [On("step", lambda _: os.kill(os.getpid(), signal.SIGKILL), at=(at,))]
    torch.manual_seed(7)
    return ended(graph, fit(graph, batches(size), **options(**given, **more)))


def evolved(run: str | None = None) -> dict[str, Any]:
    """Two generations with their slim networks."""
    net = network(8, 3)
    train = functools.partial(fit, train=batches(), **options())
    part = split(plan(net, torch.zeros(1, 1, 4, 4)))
    found = list(methods.evolve(net, train, methods.supervise, part, generations=2, run=run))
    weights = {f"slim.{key}": value.tolist() for key, value in found[-1].slim.state_dict().items()}
    weights |= {f"dense.{key}": value.tolist() for key, value in net.state_dict().items()}
    return {"weights": weights, "samples": sum(one.history.samples for one in found)}


def amalgamated() -> dict[str, Any]:
    """A student of two teachers, through a common space."""
    teachers = {name: freeze(network(8, seed)) for name, seed in (("one", 4), ("two", 5))}
    student = network(6, 6)
    torch.manual_seed(11)
    edges = [
        Edge(("one.1", "two.1"), "student.1", losses.CommonFeatures()),
        Edge("one", "student", losses.kd),
        Edge("two", "student", losses.kd),
    ]
    graph = Graph({**teachers, "student": student}, edges)
    return ended(graph, fit(graph, batches(), **options()))


def measured() -> dict[str, Any]:
    """A network whose buffers do not differ, on data that cannot be shared equally."""
    _processes.join()
    graph = methods.supervise(network(6, 1))
    found = [evaluate(graph, Batches(samples(1, n), 4), together=True)["student"] for n in (1, 7, 33)]
    return {"found": found, "alone": [evaluate(graph, Batches(samples(1, n), 4))["student"] for n in (1, 7, 33)]}


def averaged() -> dict[str, Any]:
    """Gradients, some of them in one process only, some nowhere; several buckets and kinds."""
    _processes.join()
    _processes.BUCKET = 8
    rank = _processes.rank()
    tensors = [torch.zeros(5), torch.zeros(2, 3), torch.zeros(4, dtype=torch.float64), torch.zeros(3), torch.zeros(2)]
    for i, tensor in enumerate(tensors[:4]):
        if i != 3 or rank == 1:
            tensor.grad = torch.full_like(tensor, float(i + 10 * rank))
    _processes.average(tensors)
    own = torch.arange(4.0).view(2, 2).t() + rank
    _processes.as_in_the_first([own])
    told = [part.decode() for part in _processes.from_all(f"{rank}".encode() * (rank + 1), torch.device("cpu"))]
    grads = [None if tensor.grad is None else tensor.grad.flatten().tolist() for tensor in tensors]
    return {"grads": grads, "own": own.tolist(), "told": told}


def still(self: nn.Module, x: Tensor) -> Tensor:
    """Batch norm with the statistics that it has, as those of parts of a batch are not those of the whole."""
    return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def command(words: list[str], folder: str, *, norms: bool = True) -> dict[str, Any]:
    """The command line; without ``norms``, batch norm does not look at the batch."""
    os.chdir(folder)
    if not norms:
        nn.modules.batchnorm._BatchNorm.forward = still
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            mentorch(words)
        except SystemExit as end:
            code = end.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    case.__name__: case for case in (trained, evolved, amalgamated, measured, averaged, command)
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def forked(request: dict[str, Any], environment: dict[str, str], out: pathlib.Path) -> int:
    child = os.fork()
    if child:
        return child
    atexit._clear()  # what this process leaves behind, not what it was forked from
    os.environ.update(environment)
    failed = False
    try:
        answer = CASES[request["case"]](**request["arguments"])
    except BaseException as error:
        failed, answer = True, {"error": type(error).__name__, "message": str(error)}
    out.write_text(json.dumps(answer))
    if not failed:  # otherwise others may wait for this one in vain
        atexit._run_exitfuncs()
    os._exit(int(failed))


def ends_of(children: list[int]) -> list[int]:
    """How each child ended; when one failed, the others have a while, as under ``torchrun``, and are killed then."""
    ends: dict[int, int] = {}
    patience = GRACE
    while len(ends) < len(children):
        for child in children:
            if child not in ends and (found := os.waitpid(child, os.WNOHANG))[0]:
                ends[child] = os.waitstatus_to_exitcode(found[1])
        time.sleep(0.02)
        patience -= 0.02 if any(ends.values()) else 0.0
        for child in children if patience < 0 else ():
            if child not in ends:
                os.kill(child, signal.SIGKILL)
    return [ends[child] for child in children]


def answered(request: dict[str, Any]) -> list[dict[str, Any]]:
    """One process alone, or several as ``torchrun`` starts them."""
    world, port = request["world"], free_port()
    shared = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"}
    with tempfile.TemporaryDirectory() as folder:
        outs = [pathlib.Path(folder) / f"{rank}.json" for rank in range(world)]
        own = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {} for rank in range(world)]
        children = [forked(request, each, out) for each, out in zip(own, outs, strict=True)]
        ends = ends_of(children)
        return [
            {"status": end, **(json.loads(out.read_text()) if out.exists() else {})}
            for end, out in zip(ends, outs, strict=True)
        ]


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answered(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
