"""Time of a step of a transfer graph against the same graph as others write it, and against the best loop by hand.

    python benchmarks/graph.py                      # all rows, prints a table
    python benchmarks/graph.py --fast               # with the fast options of ``fit`` switched on
    python benchmarks/graph.py --repeats 2 --steps 10 --networks tiny    # a short form

``public`` is a transcription of what the existing implementations of knowledge transfer graphs do in a step: every
ordered pair of nodes has its loss with softmaxes of its own, also where its gate is closed, each loss is read by the
host to see whether it is zero, every node runs, and each node has a backward pass of its own. ``by hand`` computes what
the graph needs and nothing else. All three draw the same batches, have one optimiser per node, and alternate in one
process; CPU time per step. *Fast* is ``fit(..., channels_last=True, precision="bf16-mixed")``, and the same two options
in the loop by hand. Graphs: ``full`` is mutual learning of all; ``searched`` is the graph that the existing
implementation publishes as its best for three networks; ``teachers`` has one learning network and frozen ones, of which
every other one is closed.
"""

import argparse
import functools
import statistics
import time

import torch
import torch.nn.functional as F
from _machine import keep_memory
from _steps import spread, step_of_fit

import mentorch as mt
from mentorch import networks

NETWORKS = {
    "tiny": ("cnn_tiny", 1, 8),
    "small": ("cnn_small", 1, 28),
    "resnet8": ("resnet8", 3, 32),
    "resnet20": ("resnet20", 3, 32),
}
UP, DOWN, THROUGH, CUT = mt.gates.Linear(0.0, 1.0), mt.gates.Linear(1.0, 0.0), 1.0, 0.0


def matrix(kind: str, count: int) -> list[list]:
    """Gates: row = who learns, column = who teaches; the diagonal is for the labels."""
    if kind == "full":
        return [[THROUGH] * count for _ in range(count)]
    if kind == "searched":
        return [[UP, UP, UP], [CUT, DOWN, THROUGH], [THROUGH, CUT, THROUGH]]
    return [[THROUGH if s % 2 == 0 else CUT for s in range(count)]] + [[CUT] * count for _ in range(count - 1)]


def make(network: str, count: int, batch_size: int, steps: int):
    """Networks and batches, the same for all."""
    name, channels, size = NETWORKS[network]
    torch.manual_seed(0)
    made = [networks.build(name, num_classes=10, in_channels=channels) for _ in range(count)]
    images = torch.randint(0, 256, (batch_size * steps, channels, size, size), dtype=torch.uint8)
    split = mt.data.Split(images, torch.randint(0, 10, (len(images),)), torch.arange(len(images)))
    return made, mt.data.Batches(split, batch_size, shuffle=True)


SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def public(made, gates, batches) -> float:
    """As the existing implementations do it."""
    learns = [any(gate != CUT for gate in row) for row in gates]
    optimizers = [SGD(network.parameters()) for network in made]
    weights = [[mt.gates.as_gate(gate) for gate in row] for row in gates]
    for network in made:
        network.train()
    began = time.process_time()
    for step, (images, labels, _) in enumerate(batches.iterate(0)):
        progress = mt.gates.progress_at(step, len(batches))
        outputs = [network(images) for network in made]
        losses = []
        for t in range(len(made)):
            total = torch.zeros(())
            for s in range(len(made)):
                if s == t:
                    loss = F.cross_entropy(outputs[t], labels, reduction="none")
                else:
                    p, q = F.softmax(outputs[s].detach(), dim=1), F.log_softmax(outputs[t], dim=1)
                    loss = (p * (p.log() - q)).sum(1)
                loss = (loss * weights[t][s](progress)).mean()
                if loss != 0:
                    total = total + loss
            losses.append(total)
        for t, loss in enumerate(losses):
            if learns[t] and loss != 0:
                optimizers[t].zero_grad()
                loss.backward()
                optimizers[t].step()
    return (time.process_time() - began) / len(batches)


def by_hand(made, gates, batches, fast: bool = False) -> float:
    """What the graph needs, and nothing else."""
    autocast = functools.partial(torch.autocast, "cpu", torch.bfloat16, enabled=fast)
    if fast:
        made = [network.to(memory_format=torch.channels_last) for network in made]
    count = range(len(made))
    learning = [t for t in count if any(gate != CUT for gate in gates[t])]
    wanted = [n for n in count if n in learning or any(gates[t][n] != CUT for t in learning)]
    optimizers = [SGD(made[t].parameters()) for t in learning]
    weights = [[mt.gates.as_gate(gate) for gate in row] for row in gates]
    for n in count:
        made[n].train(n in learning).requires_grad_(n in learning)
    began = time.process_time()
    for step, (images, labels, _) in enumerate(batches.iterate(0)):
        progress = mt.gates.progress_at(step, len(batches))
        log_p = {}
        for n in wanted:
            with torch.set_grad_enabled(n in learning), autocast():
                output = made[n](images)
            with torch.set_grad_enabled(n in learning):
                log_p[n] = F.log_softmax(output.float(), dim=1)
        p = {n: log.detach().exp() for n, log in log_p.items()}
        total = torch.zeros(())
        for t in learning:
            for s in count:
                weight = weights[t][s](progress)
                if weight != 0:
                    if s == t:
                        total = total + weight * F.nll_loss(log_p[t], labels)
                    else:
                        total = total + weight * (p[s] * (log_p[s].detach() - log_p[t])).sum(1).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        total.backward()
        for optimizer in optimizers:
            optimizer.step()
    return (time.process_time() - began) / len(batches)


def by_fit(made, gates, batches, fast: bool = False) -> float:
    """The same graph through ``fit``."""
    names = [f"n{i}" for i in range(len(made))]
    edges = []
    for t, row in zip(names, gates, strict=True):
        for s, gate in zip(names, row, strict=True):
            if gate != CUT:
                edges.append(mt.Edge("labels", t, mt.losses.cross_entropy, gate) if s == t else mt.Edge(s, t, KD, gate))
    learning = {name for name, row in zip(names, gates, strict=True) if any(gate != CUT for gate in row)}
    nodes = {n: each if n in learning else mt.freeze(each) for n, each in zip(names, made, strict=True)}
    optimizer = dict.fromkeys(sorted(learning), SGD)
    precision = "bf16-mixed" if fast else "32-true"
    return step_of_fit(mt.Graph(nodes, edges), batches, optimizer=optimizer, channels_last=fast, precision=precision)


KD = functools.partial(mt.losses.kd, temperature=1.0)
GRAPHS = (("full", 3), ("full", 6), ("searched", 3), ("teachers", 3), ("teachers", 6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    mark = ", fast" if options.fast else ""
    loops = {
        "public": public,
        f"by hand{mark}": functools.partial(by_hand, fast=options.fast),
        f"fit{mark}": functools.partial(by_fit, fast=options.fast),
    }
    head = ("networks", "graph", *loops, "times faster than public", f"fit / by hand{mark}")
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for network in options.networks:
        for kind, count in GRAPHS:
            times: dict[str, list[float]] = {name: [] for name in loops}
            for _ in range(options.repeats + 1):
                for name, loop in loops.items():
                    made, batches = make(network, count, options.batch_size, options.steps)
                    times[name].append(1e3 * loop(made, matrix(kind, count), batches))
            series = [each[1:] for each in times.values()]  # the first round warms up
            ratios = (spread(series[0], series[2]), spread(series[2], series[1]))
            cells = (f"{count} x {NETWORKS[network][0]}", kind, *(f"{statistics.median(each):.2f}" for each in series))
            print(f"| {' | '.join((*cells, *ratios))} |", flush=True)


if __name__ == "__main__":
    main()
