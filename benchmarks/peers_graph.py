"""A step of a transfer graph by ``fit`` beside the public implementation, yukiharada1228/KnowledgeTransferGraph.

    python benchmarks/peers_graph.py --ktg FOLDER                           # a checkout; its code is run as it is
    python benchmarks/peers_graph.py --networks tiny --steps 2 --repeats 1  # a short form

The same networks with the same weights, the same batches of 64 images, one SGD per node, the same edges (cross-entropy
from the labels, KL divergence at temperature 1 between networks) and the same weights of the gates; that the trained
nodes end alike is checked. CPU time per step, loops taking turns in one process.

*full*: all teach all. *searched*: the graph that the public implementation publishes as its best, in the middle of its
training, where its gates, which move once per epoch, weigh linear edges by one half: so do ours here. *teachers*: one
network learns from a frozen one; every other edge is cut. The public code has no frozen nodes: it runs them in training
mode and with a backward graph. To compare the same numbers ours use the batch's statistics too; what the public code
does to its teachers' running statistics has no counterpart here and is not compared. It asks for autocast and a loss
scaler of CUDA: without a GPU PyTorch disables both, and images stay where they are. The last rows are two options of
``fit``, for speed; the nodes they train differ by the rounding of bfloat16, so they are only timed.
"""

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import torch
from _machine import keep_memory, machine
from _peers import add_folders, imported, take_turns, weights
from _steps import spread, step_of_fit
from torch import Tensor, nn

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, Split

NETWORKS = {"tiny": ("cnn_tiny", 1, 8), "small": ("cnn_small", 1, 28), "resnet8": ("resnet8", 3, 32)}
THROUGH, CUT, HALF = 1.0, 0.0, 0.5
GRAPHS = {  # row = who learns, column = who teaches; the diagonal is for the labels
    "full": [[THROUGH] * 3] * 3,
    "searched": [[HALF, HALF, HALF], [CUT, HALF, THROUGH], [THROUGH, CUT, THROUGH]],
    "teachers": [[THROUGH, CUT, THROUGH], [CUT] * 3, [CUT] * 3],
}
EPOCHS, MIDDLE = 201, 100
SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)
KD = functools.partial(mt.losses.kd, temperature=1.0)


@dataclass
class Job:
    """What each loop is given: fresh networks, a graph's weights, and the batches of one epoch."""

    nodes: list[nn.Module]
    gates: list[list[float]]
    batches: Batches
    folder: str | None

    def __post_init__(self) -> None:
        self.learning = [i for i, row in enumerate(self.gates) if any(row)]
        self.start = self.weights()

    def weights(self) -> Tensor:
        return weights(*(self.nodes[i] for i in self.learning))

    def moved(self) -> Tensor:
        return self.weights() - self.start


def by_ktg(job: Job) -> tuple[float, Tensor]:
    """With the step of its training loop."""
    with imported(job.folder, "ktg"):
        import ktg
        from ktg.gates import CutoffGate, PositiveLinearGate, ThroughGate
        from ktg.losses import KLDivLoss
    gates = {THROUGH: ThroughGate, CUT: CutoffGate, HALF: PositiveLinearGate}
    nodes = []
    for t, (network, row) in enumerate(zip(job.nodes, job.gates, strict=True)):
        losses = [nn.CrossEntropyLoss() if s == t else KLDivLoss() for s in range(len(row))]
        nodes.append(
            ktg.Node(
                model=network,
                writer=mock.Mock(),
                scaler=torch.amp.GradScaler("cuda", enabled=False),
                optimizer=SGD(network.parameters()),
                edges=ktg.build_edges(losses, [gates[weight](EPOCHS) for weight in row]),
                loss_meter=ktg.graph.AverageMeter(),
                score_meter=ktg.graph.AverageMeter(),
            )
        )
    with mock.patch("builtins.print"):
        graph = ktg.KnowledgeTransferGraph(nodes, EPOCHS, job.batches, [])
    with warnings.catch_warnings(), mock.patch.object(Tensor, "cuda", lambda self: self):
        warnings.simplefilter("ignore")  # that there is no CUDA
        began = time.process_time()
        for step, (images, labels, _) in enumerate(job.batches.iterate(0)):
            graph.train_on_batch(images, labels, MIDDLE, step)
        return (time.process_time() - began) / len(job.batches), job.moved()


def by_fit(job: Job, **options: object) -> tuple[float, Tensor]:
    names = [f"n{i}" for i in range(len(job.nodes))]
    edges = [
        mt.Edge("labels", t, mt.losses.cross_entropy, gate) if s == t else mt.Edge(s, t, KD, gate)
        for t, row in zip(names, job.gates, strict=True)
        for s, gate in zip(names, row, strict=True)
        if gate
    ]
    nodes = {
        name: node if i in job.learning else mt.freeze(node, statistics="batch")
        for i, (name, node) in enumerate(zip(names, job.nodes, strict=True))
    }
    graph, optimizers = mt.Graph(nodes, edges), {names[i]: SGD for i in job.learning}
    return step_of_fit(graph, job.batches, optimizer=optimizers, **options), job.moved()


FAST = {"channels_last": True, "precision": "bf16-mixed"}


def by_fit_fast(job: Job) -> tuple[float, Tensor]:
    """In bfloat16; its end is not compared."""
    spent, _ = by_fit(job, **FAST)
    return spent, torch.empty(0)


LOOPS: dict[str, Callable[[Job], tuple[float, Tensor]]] = {
    "KnowledgeTransferGraph": by_ktg,
    "`fit`": by_fit,
    "`fit`, channels-last": functools.partial(by_fit, channels_last=True),
    "`fit`, channels-last, bf16": by_fit_fast,
}


def prepared(network: str, kind: str, batch_size: int, steps: int, folder: str | None) -> Callable[[], Job]:
    """Makes jobs that are alike."""
    name, channels, size = NETWORKS[network]

    def job() -> Job:
        torch.manual_seed(0)
        made = [networks.build(name, num_classes=10, in_channels=channels) for _ in GRAPHS[kind]]
        images = torch.randint(0, 256, (batch_size * steps, channels, size, size), dtype=torch.uint8)
        split = Split(images, torch.randint(0, 10, (len(images),)), torch.arange(len(images)))
        return Job(made, GRAPHS[kind], Batches(split, batch_size, shuffle=True), folder)

    return job


def run(loop: Callable[[Job], tuple[float, Tensor]], make: Callable[[], Job]) -> tuple[float, Tensor]:
    return loop(make())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--graphs", nargs="+", default=list(GRAPHS), choices=list(GRAPHS))
    for name, value in {"batch-size": 64, "steps": 10, "repeats": 5, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    add_folders(parser, "ktg")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    print("| networks | graph | loop | CPU ms per step | times faster than the public code (min ... max) |")
    print("|---|---|---|---|---|", flush=True)
    for network in options.networks:
        for kind in options.graphs:
            make = prepared(network, kind, options.batch_size, options.steps, options.ktg)
            loops = {name: functools.partial(run, loop, make) for name, loop in LOOPS.items()}
            times = take_turns(loops, options.repeats, "`fit`")
            base = next(iter(times))
            for name, series in times.items():
                faster = spread(times[base], series) if name != base else ""
                step = f"{1e3 * statistics.median(series):.2f}"
                print(f"| 3 x {NETWORKS[network][0]} | {kind} | {name} | {step} | {faster} |", flush=True)


if __name__ == "__main__":
    main()
