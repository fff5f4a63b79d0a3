"""Time and memory of a step of amalgamation through ``fit`` against a loop by hand with the same networks and layers.

    python benchmarks/features.py             # all methods, two and four teachers, prints a table
    python benchmarks/features.py --steps 2 --repeats 1 --methods kd --teachers 2   # a short form

``kd`` learns the teachers' logits side by side; ``cfl`` adds the common features of the last stages, in both published
variants, with the published kernels; ``layerwise`` the code of every stage, in the joint form. Loops alternate in one
process on the same batches without labels, CPU time; peak memory is that of a fresh process for each loop. That both
end with the same student is checked.
"""

import argparse
import functools
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from _machine import keep_memory
from _steps import peak_of, spread, step_of_fit

import mentorch as mt
from mentorch import networks
from mentorch.losses import CommonFeatures, Layerwise

TEACHERS, STUDENT, CLASSES = ("resnet8", "cnn_small", "resnet8", "cnn_medium"), "resnet8", 5
METHODS = {
    "kd": (),
    "cfl, cfl_repo": (functools.partial(CommonFeatures, bandwidths="released"),),
    "cfl, kamal": (functools.partial(CommonFeatures, variant="kamal", bandwidths="released"),),
    "layerwise": (Layerwise,),
}
SIGMAS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)


def make(method: str, count: int, batch_size: int, steps: int, dtype: torch.dtype = torch.float32):
    """The graph with its networks and layers, and batches: the same for both loops."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (batch_size * steps, 3, 32, 32), dtype=torch.uint8)
    split = mt.data.Split(images, torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images)))
    teachers = {f"part{i}": networks.build(name, num_classes=CLASSES) for i, name in enumerate(TEACHERS[:count])}
    space = mt.data.LabelSpace.union({name: tuple(f"{name}.{k}" for k in range(CLASSES)) for name in teachers})
    student = networks.build(STUDENT, num_classes=len(space))
    made = {"student": student.to(dtype), **{name: teacher.to(dtype) for name, teacher in teachers.items()}}
    views = None if dtype == torch.float32 else dict.fromkeys(made, lambda x: x.to(dtype))
    example = (images[:2].float() / 255,)
    graph = mt.methods.amalgamate(teachers, student, *METHODS[method], space=space, views=views, example=example)
    return graph, mt.data.Batches(split, batch_size, shuffle=True)


def maps(features: list[torch.Tensor]) -> list[torch.Tensor]:
    """Averaged down to the smallest."""
    size = min(x.shape[2] for x in features)
    return [x if x.shape[2] == size else F.adaptive_avg_pool2d(x, size) for x in features]


def discrepancy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x, y = F.normalize(x.flatten(1)), F.normalize(y.flatten(1))
    total = torch.zeros(())
    for a, b, weight in ((x, x, 1.0), (y, y, 1.0), (x, y, -2.0)):
        squares = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)
        total = total + weight * sum((-squares / (2 * s**2)).exp() for s in SIGMAS).mean()
    return total


def common(layers: CommonFeatures, student: torch.Tensor, *teachers: torch.Tensor) -> torch.Tensor:
    features = maps([student, *teachers])
    ours, *theirs = [layers.extract(align(x)) for align, x in zip(layers.align, features, strict=True)]
    loss = sum(discrepancy(ours, x) for x in theirs)
    rebuilt = [decode(x) for decode, x in zip(layers.decode, theirs, strict=True)]
    return 10 * (loss + sum(F.mse_loss(a, b) for a, b in zip(rebuilt, features[1:], strict=True)))


def coded(layers: Layerwise, student: torch.Tensor, *teachers: torch.Tensor) -> torch.Tensor:
    ours, *theirs = maps([student, *teachers])
    code = layers.encode(torch.cat(theirs, 1))
    rebuilt = layers.decode(code).split([x.shape[1] for x in theirs], 1)
    loss = F.mse_loss(layers.adapt(ours), code.detach())
    return loss + sum(F.mse_loss(a, b) for a, b in zip(rebuilt, theirs, strict=True))


def by_hand(graph: mt.Graph, batches: mt.data.Batches, make_optimizer=ADAM) -> float:
    """As one would write it down, features read by hooks; CPU seconds per step."""
    nodes = dict(graph.nodes)
    student = nodes.pop("student")
    groups = [(edge.loss, [*edge.targets, *edge.sources]) for edge in graph.edges[1:]]
    seen: dict[str, torch.Tensor] = {}
    for address in {address for _, addresses in groups for address in addresses}:
        name, _, path = address.partition(".")
        layer = (student if name == "student" else nodes[name]).get_submodule(path)
        layer.register_forward_hook(lambda _, __, output, key=address: seen.update({key: output}))
    learning = [*student.parameters(), *(p for layers, _ in groups for p in layers.parameters())]
    optimizer = make_optimizer(learning)
    student.train()
    began = time.process_time()
    for images, *_ in batches.iterate(0):
        images = images.to(learning[0].dtype)
        with torch.no_grad():
            target = torch.cat([teacher(images) for teacher in nodes.values()], 1).log_softmax(1)
        loss = F.kl_div(student(images).log_softmax(1), target, log_target=True, reduction="batchmean")
        for layers, addresses in groups:
            form = common if isinstance(layers, CommonFeatures) else coded
            loss = loss + form(layers, *(seen[address] for address in addresses))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - began) / len(batches)


def by_fit(graph: mt.Graph, batches: mt.data.Batches, make_optimizer=ADAM) -> float:
    """CPU seconds per step, without what happens once per run."""
    return step_of_fit(graph, batches, optimizer=make_optimizer)


LOOPS = {"by hand": by_hand, "fit": by_fit}


def check(method: str, count: int) -> None:
    """That a few steps of both loops in float64 end with the same student."""
    students = []
    for loop in LOOPS.values():
        graph, batches = make(method, count, 8, 3, torch.float64)
        loop(graph, batches, functools.partial(torch.optim.SGD, lr=1e-3))
        students.append(torch.cat([p.detach().flatten() for p in graph.nodes["student"].parameters()]))
    torch.testing.assert_close(students[0], students[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--teachers", nargs="+", type=int, default=[2, 4], choices=[2, 3, 4])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=list(LOOPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    if options.memory:
        LOOPS[options.memory](*make(options.methods[0], options.teachers[0], options.batch_size, 5))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print("| method | teachers | by hand, ms | fit, ms | ratio (min ... max) | peak memory by hand / fit, MiB |")
    print("|---|---|---|---|---|---|")
    for count in options.teachers:
        for method in options.methods:
            check(method, count)
            times: dict[str, list[float]] = {name: [] for name in LOOPS}
            for _ in range(options.repeats + 1):
                for name, loop in LOOPS.items():
                    times[name].append(1e3 * loop(*make(method, count, options.batch_size, options.steps)))
            hand, fit = (series[1:] for series in times.values())  # the first round warms up
            words = ("--methods", method, "--teachers", count, "--batch-size", options.batch_size)
            memory = peak_of(__file__, list(LOOPS), *words)
            print(
                f"| {method} | {count} | {statistics.median(hand):.1f} | {statistics.median(fit):.1f} "
                f"| {spread(fit, hand, 3)} | {memory} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
