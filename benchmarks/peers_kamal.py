"""Common feature amalgamation and the map of a zoo beside the code of zju-vipa/KamalEngine.

    python benchmarks/peers_kamal.py --kamal FOLDER                   # a checkout; needs captum, as mentorch does
    python benchmarks/peers_kamal.py --steps 1 --repeats 1 --zoo 3    # a short form; without the checkout ours alone

The package cannot be imported: ``kamal/amalgamation/__init__.py`` asks for a module that is not there, others for
packages that it does not declare. So packages are entered without their ``__init__``; ``ipdb``, ``ruamel`` and
``termcolor``, which nothing here calls, are stand-ins where they are not installed, and so is ``numpy.Inf``, which
numpy 2 does not have. The methods themselves run as they are.

*A step of common feature learning*: two teachers with 5 classes each and a student of the same architecture, features
of the last stage, weights (1, 10, 10) as in its example, the same initial layers of the common space, SGD at a constant
rate on both sides (its cosine for these layers, which has no counterpart for the student, is switched off). That the
students end alike is checked.

*The map of a zoo*: attribution maps of all networks, then the distance of each ordered pair. Probes have one channel,
so that its cosine over channels is ours over their mean; that the distances are equal is checked.
"""

import argparse
import functools
import importlib
import itertools
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from _machine import keep_memory, machine
from _peers import AbsentError, Epoch, add_folders, take_turns, weights
from _steps import spread
from torch import Tensor, nn

import mentorch as mt
from mentorch import networks
from mentorch.data import Batches, LabelSpace, Split
from mentorch.transferability import Embeddings, Frame, Lens, explain, norm, similarities

NETWORKS = {"small": ("cnn_small", 1, 28, "layer2"), "resnet8": ("resnet8", 3, 32, "layer3")}
SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=1e-4)
SPACE = LabelSpace.union({name: tuple(f"{name} {k}" for k in range(5)) for name in ("one", "two")})
PACKAGES = (
    "kamal",
    "kamal.core",
    "kamal.core.engine",
    "kamal.utils",
    "kamal.amalgamation",
    "kamal.transferability",
    "kamal.transferability.depara",
)


def kamal(folder: str | None, module: str) -> types.ModuleType:
    """A module of the checkout, entered without its packages' ``__init__``.

    Raises:
        AbsentError: if no checkout is named, or something that it needs is missing.
    """
    if not folder:
        raise AbsentError("no checkout is named: --kamal FOLDER")
    if "kamal" not in sys.modules:
        for name in PACKAGES:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [f"{folder}/{name.replace('.', '/')}"]
        for name in ("ipdb", "ruamel", "ruamel.yaml", "termcolor"):
            try:
                importlib.import_module(name)
            except ImportError:
                sys.modules[name] = mock.MagicMock()
        helpers, logger = (importlib.import_module(f"kamal.utils.{name}") for name in ("_utils", "logger"))
        vars(sys.modules["kamal.utils"]).update(vars(helpers), get_logger=logger.get_logger)
        np.Inf = np.inf
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise AbsentError(str(error)) from error


@dataclass
class Job:
    """Fresh networks, the layers of a common space, and the batches of one epoch."""

    teachers: dict[str, nn.Module]
    student: nn.Module
    common: nn.Module
    batches: Batches
    place: str
    folder: str | None

    def __post_init__(self) -> None:
        self.start = weights(self.student)

    def moved(self) -> Tensor:
        return weights(self.student) - self.start


def by_kamal(job: Job) -> tuple[float, Tensor]:
    method = kamal(job.folder, "kamal.amalgamation.common_feature").CommonFeatureAmalgamator(logger=mock.Mock())
    layers = [network.get_submodule(job.place) for network in (job.student, *job.teachers.values())]
    channels = [job.common.align[i][0].in_channels for i in range(3)]
    group = {"layer_groups": [layers], "layer_channels": [channels], "weights": (1.0, 10.0, 10.0)}
    with mock.patch("builtins.print"):
        method.setup(
            job.student, [*job.teachers.values()], dataloader=None, optimizer=SGD(job.student.parameters()), **group
        )
    block = method._amal_blocks[0][0]
    theirs, ours = (block.align_s, *block.align_t, block.extractor, block.dec_t), (job.common.align, job.common.extract)
    copy_layers((*ours, job.common.decode), theirs)
    method._dataloader = Epoch(job.batches)
    with mock.patch("torch.optim.lr_scheduler.CosineAnnealingLR"):
        began = time.process_time()
        method.run(len(job.batches))
        return (time.process_time() - began) / len(job.batches), job.moved()


def copy_layers(sources: tuple[nn.Module, ...], targets: tuple[nn.Module, ...]) -> None:
    """Weights of convolutions and norms, one after the other; a bias in front of a norm does nothing."""
    kinds = nn.Conv2d, nn.BatchNorm2d
    found = [
        [layer for part in side for layer in part.modules() if isinstance(layer, kinds)] for side in (sources, targets)
    ]
    for source, target in zip(*found, strict=True):
        target.load_state_dict(source.state_dict(), strict=False)


def by_fit(job: Job) -> tuple[float, Tensor]:
    at = [dict.fromkeys(("student", *job.teachers), job.place)]
    graph = mt.methods.amalgamate(job.teachers, job.student, (job.common, 10.0), space=SPACE, at=at)
    clock: list[float] = []
    tick = mt.On("start", lambda _: clock.append(time.process_time()))
    tock = mt.On("epoch", lambda _: clock.append(time.process_time()))
    mt.fit(graph, job.batches, optimizer=SGD, epochs=1, callbacks=[tick, tock], progress=False, device="cpu")
    return (clock[1] - clock[0]) / len(job.batches), job.moved()


def prepared(network: str, batch_size: int, steps: int, folder: str | None) -> Callable[[], Job]:
    """Makes jobs that are alike."""
    name, channels, size, place = NETWORKS[network]

    def job() -> Job:
        torch.manual_seed(0)
        build = functools.partial(networks.build, name, in_channels=channels)
        teachers, student = {key: build(num_classes=5) for key in ("one", "two")}, build(num_classes=10)
        images = torch.randint(0, 256, (batch_size * steps, channels, size, size), dtype=torch.uint8)
        for teacher in teachers.values():
            teacher(images[:batch_size].float() / 255)
            teacher.eval().requires_grad_(False)
        split = Split(images, torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images)))
        common = mt.losses.CommonFeatures(variant="kamal", bandwidths="released")
        common.build(*[shown_at(student, place, images[:2])] * 3)
        return Job(teachers, student, common, Batches(split, batch_size, shuffle=True), place, folder)

    return job


def shown_at(network: nn.Module, place: str, images: Tensor) -> Tensor:
    """What a module shows for some images."""
    seen: list[Tensor] = []
    handle = network.get_submodule(place).register_forward_hook(lambda _, args, output: seen.append(output.detach()))
    network.eval()(images.float() / 255)
    handle.remove()
    network.train()
    return seen[0]


def maps_by_kamal(zoo: list[nn.Module], probes: Tensor, folder: str | None) -> tuple[float, Tensor]:
    depara = kamal(folder, "kamal.transferability.depara.attribution_map")
    from captum.attr import InputXGradient

    probes = probes.clone().requires_grad_()  # captum warns otherwise
    began = time.process_time()
    maps = [depara.attribution_map(network, InputXGradient, False, probes) for network in zoo]
    distances = torch.zeros(len(zoo), len(zoo))
    for i, j in itertools.permutations(range(len(zoo)), 2):
        distances[i, j] = depara.attr_map_distance(maps[i], maps[j])
    return time.process_time() - began, distances


def maps_here(zoo: list[nn.Module], probes: Tensor) -> tuple[float, Tensor]:
    began = time.process_time()
    lens = Lens(scalar=norm)
    frame = Frame.of(probes, lens, width=None)
    rows = [frame.embed(explain(network, probes, lens, batch_size=len(probes))) for network in zoo]
    nodes, edges = (torch.stack(column) for column in zip(*rows, strict=True))
    table = Embeddings(tuple(map(str, range(len(zoo)))), nodes, edges)
    distances = (1 - similarities(table, table, weight=0.0)).fill_diagonal_(0)
    return time.process_time() - began, distances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    for name, value in {"batch-size": 64, "steps": 8, "repeats": 5, "zoo": 60, "probes": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    add_folders(parser, "kamal")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    print(f"{machine()}\n")
    print("| what | networks | loop | CPU ms | times faster than KamalEngine (min ... max) |")
    print("|---|---|---|---|---|", flush=True)
    for network in options.networks:
        make = prepared(network, options.batch_size, options.steps, options.kamal)
        loops = {"KamalEngine": lambda make=make: by_kamal(make()), "`fit`": lambda make=make: by_fit(make())}
        show("step, common features", NETWORKS[network][0], take_turns(loops, options.repeats, "`fit`"))
    torch.manual_seed(0)
    zoo = [networks.build("cnn_small", num_classes=10, in_channels=1).eval() for _ in range(options.zoo)]
    probes = torch.rand(options.probes, 1, 28, 28)
    loops = {
        "KamalEngine": lambda: maps_by_kamal(zoo, probes, options.kamal),
        "`Frame`, `similarities`": lambda: maps_here(zoo, probes),
    }
    show("maps of a zoo, all pairs", f"{options.zoo} x cnn_small", take_turns(loops, options.repeats, [*loops][1]))


def show(what: str, which: str, times: dict[str, list[float]]) -> None:
    base = next(iter(times))
    for name, series in times.items():
        faster = spread(times[base], series) if name != base else ""
        print(f"| {what} | {which} | {name} | {1e3 * statistics.median(series):.1f} | {faster} |", flush=True)


if __name__ == "__main__":
    main()
