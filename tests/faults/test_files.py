"""Damaged, cut and forged files: read as what was written, or refused in one line; nothing in them ever runs."""

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from mentorch import Edge, Graph, freeze, zoo
from mentorch._files import seal
from mentorch.cli._rank_rows import Rows
from mentorch.cli._yaml import read_recipe
from mentorch.comparison._resume import finished
from mentorch.data import Batches, Split, load
from mentorch.networks import build, load_weights, state_hash
from mentorch.reports import sentence, table
from mentorch.reports._read import read as read_run
from mentorch.search._study import load_study, open_study
from mentorch.training import TeacherCache, _checkpoint
from mentorch.transferability import Frame, Row, Store

from .mutations import HOSTILE, attack, mutants

CI, NIGHTLY = 36, 300
pytestmark = pytest.mark.usefixtures("alone")
ASKED = {"space": {"nodes": 3}, "problem": {"epochs": 10, "data": "abc"}, "seeds": [0]}


@dataclass(frozen=True)
class Target:
    """A file, who reads it, and whether it carries a check of its own."""

    path: Path
    read: Callable[[], Any]
    checked: bool
    same: Callable[[Any, Any], bool] | None = None


def digest(*tensors: torch.Tensor) -> str:
    return hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def checkpoint(folder: Path) -> Iterator[Target]:
    state = {"weights": torch.randn(20), "epoch": 3, "history": {"records": [{"epoch": 1, "loss": 0.25}]}}
    _checkpoint.save(folder, 4, state)
    tensors: dict[str, torch.Tensor] = {}

    def read() -> Any:
        tensors.clear()
        return _checkpoint.pack(_checkpoint.load(folder), tensors), digest(*tensors.values())

    for name in ("state.json", "tensors.safetensors"):
        yield Target(folder / "000000004" / name, read, True)


def cache(folder: Path) -> Iterator[Target]:
    images = torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8)
    batches = Batches(Split(images, torch.arange(12) % 3, torch.arange(12)), 12)
    nodes = {name: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for name in ("teacher", "student")}
    freeze(nodes["teacher"])
    graph = Graph(nodes, [Edge("teacher", "student", nn.functional.mse_loss)])
    batch = next(iter(batches))

    def read() -> str:
        given = TeacherCache(folder).open(graph, batches).given(batch.inputs, batch.index, epoch=0)
        return digest(given["teacher"])

    read()
    for name in ("card.json", "view-00000.rows"):
        yield Target(folder / "teacher" / name, read, True)


def store(folder: Path) -> Iterator[Target]:
    frame = Frame("probes", 4, "lens", grid=2, width=2)
    for i in range(3):
        Store(folder, frame).add(frame.key(str(i)), *(torch.full((size,), i + 1.0) for size in frame.sizes))

    def read() -> dict[str, str]:
        rows = Store(folder, frame).read()
        return {key: digest(a, b) for key, a, b in zip(rows.keys, rows.nodes, rows.edges, strict=True)}

    def same(seen: dict[str, str], expected: dict[str, str]) -> bool:
        return seen.items() <= expected.items()  # a row that is not whole is not there

    for name in ("frame.json", "rows.bin"):
        yield Target(folder / name, read, True, same)


def _pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def archives(folder: Path) -> Iterator[Target]:
    for packed in (False, True):
        place = folder / ("packed" if packed else "plain") / "mnist"
        place.mkdir(parents=True)
        for part in ("train", "t10k"):
            for values, kind in (
                (_pictures(20, 28, 28), "images-idx3"),
                (np.arange(20, dtype=np.uint8) % 10, "labels-idx1"),
            ):
                data = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
                name = f"{part}-{kind}-ubyte" + ".gz" * packed
                (place / name).write_bytes(gzip.compress(data) if packed else data)
        read = _loads("mnist", place.parent)
        for kind in ("images-idx3", "labels-idx1"):
            yield Target(place / (f"train-{kind}-ubyte" + ".gz" * packed), read, packed)
    yield from _cifar(folder / "cifar")
    mat = folder / "svhn" / "svhn"
    mat.mkdir(parents=True)
    for part in ("train", "test"):
        content = {"X": _pictures(32, 32, 3, 20), "y": np.arange(20)[:, None] % 10 + 1}
        savemat(mat / f"{part}_32x32.mat", content, do_compression=part == "train")
    for part in ("train", "test"):
        yield Target(mat / f"{part}_32x32.mat", _loads("svhn", mat.parent), False)


def _cifar(folder: Path) -> Iterator[Target]:
    place = folder / "cifar100"
    place.mkdir(parents=True)
    rows = np.concatenate([np.arange(40, dtype=np.uint8).reshape(20, 2), _pictures(20, 3072)], axis=1).tobytes()
    for name in ("train.bin", "test.bin"):
        (place / name).write_bytes(rows)
    yield Target(place / "train.bin", _loads("cifar100", folder), False)
    for name in ("train.bin", "test.bin"):
        (place / name).unlink()
    with tarfile.open(place / "cifar-100-binary.tar.gz", "w:gz") as archive:
        for name in ("train.bin", "test.bin"):
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(rows)
            archive.addfile(member, io.BytesIO(rows))
    yield Target(place / "cifar-100-binary.tar.gz", _loads("cifar100", folder), True)


def _loads(name: str, root: Path) -> Callable[[], str]:
    return lambda: load(name, root=root).fingerprint


def pictures(folder: Path) -> Iterator[Target]:
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for i in range(5):
            image = Image.fromarray(draw.integers(0, 256, (9, 8, 3), dtype=np.uint8))
            for kind in ("png", "jpg", "gif", "tif", "webp", "bmp"):
                image.save(folder / label / f"{i}.{kind}")
    for kind in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        yield Target(folder / "a" / f"0.{kind}", lambda: load(f"folder:{folder}", image_size=8).fingerprint, False)


def networks(folder: Path) -> Iterator[Target]:
    network = build("cnn_tiny", num_classes=3, in_channels=1)
    facts = {
        "classes": ("a", "b", "c"),
        "metrics": {"test": {"accuracy": 0.5}},
        "input": zoo.Input(1, (8, 8), (0.5,), (0.5,)),
    }
    zoo.save(network, folder, zoo.Card("n", "cnn_tiny", {"num_classes": 3, "in_channels": 1}, **facts))

    def read() -> Any:
        loaded, card = zoo.load(folder)
        return state_hash(loaded), card

    yield Target(folder / "card.json", read, False)
    yield Target(folder / "model.safetensors", read, True)
    torch.save(network.state_dict(), folder / "weights.pt")
    torch.save(network.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("weights.pt", "legacy.pt", "model.safetensors"):
        yield Target(folder / name, lambda name=name: state_hash(load_weights(network, folder / name)), False)


def reports(folder: Path) -> Iterator[Target]:
    measures = {"best": {"accuracy": 0.5, "cross_entropy": 1.0}, "last": {"accuracy": 0.4, "cross_entropy": 1.1}}
    row = {
        "method": "scratch",
        "epochs": 2,
        "best_epoch": 1,
        "seconds": 1.0,
        "trained_samples": 9,
        "macs": 9,
        "parameters": 3,
        "history": "fits/m.jsonl",
        "graph": {"nodes": [], "edges": []},
        "validation": measures,
        "test": measures,
    }
    summary = {"method": "scratch", "metric": "accuracy", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 2}
    results = {
        "schema": "mentorch.results/1",
        "kind": "compare",
        "name": "r",
        "created": "",
        "seconds": 1.0,
        "select": "best",
        "data": {"name": "digits", "train": 9, "classes": 3},
        "teacher": None,
        "student": {"network": "s"},
        "rows": [{**row, "seed": seed} for seed in (0, 1)],
        "summary": [summary],
    }
    files = {
        "results.json": json.dumps(results),
        "environment.json": json.dumps({"torch": "2"}),
        "search.json": json.dumps({"trials": []}),
        "fits/m.jsonl": "\n".join(json.dumps({"epoch": i, "train": {"loss": 1.0, "edges": {}}}) for i in (1, 2)) + "\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def read() -> str:
        run = read_run(folder)
        return (
            f"{table(run.study.results)} {sentence(run.study.results)} {run.histories} {run.environment} {run.search}"
        )

    for name in files:
        yield Target(folder / name, read, False)


def recipes(folder: Path) -> Iterator[Target]:
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text("command: distill\ndata: digits\nseeds: [0, 1]\nmethod: kd\nset: {temperature: 4}\nlr: 0.1\n")
    yield Target(path, lambda: read_recipe(path), False)
    graph = folder / "graph.json"  # JSON is YAML, and its values can be exchanged
    nodes = {"teacher": {"network": "cnn_small", "frozen": True, "random": True}, "student": {"network": "cnn_tiny"}}
    edges = [{"source": "teacher", "target": "student", "loss": {"kd": {"temperature": 4.0}}, "gate": 0.5}]
    graph.write_text(json.dumps({"command": "graph", "data": "digits", "nodes": nodes, "edges": edges, "seeds": [0]}))
    yield Target(graph, lambda: read_recipe(graph), False)


def studies(folder: Path) -> Iterator[Target]:
    for name in ("study.journal", "study.db"):
        run = folder / name.replace(".", "-")

        def opened(run: Path = run, name: str = name) -> Any:
            return open_study(run, name, ASKED, "tpe", "none", 0, 6)

        study = opened()
        for value in (0.25, 0.5):
            trial = study.ask()
            trial.suggest_categorical("gate", ["a", "b"])
            trial.set_user_attr("graph", "x")
            study.tell(trial, value)

        def read(run: Path = run, name: str = name) -> Any:
            return [(trial.number, trial.value, trial.params) for trial in load_study(run, name).get_trials()]

        yield Target(run / name, read, False)
        if name.endswith(".journal"):
            yield Target(run / name, lambda opened=opened: len(opened().get_trials()), False)


def kept(folder: Path) -> Iterator[Target]:
    folder.mkdir()
    path = folder / "result.json"
    path.write_text(seal({"method": "kd", "seed": 0, "test": {"best": {"accuracy": 0.91}}}, indent=2))
    yield Target(path, lambda: finished(path), True)


def rows(folder: Path) -> Iterator[Target]:
    card = zoo.Card("n", "cnn_tiny", {"num_classes": 3, "in_channels": 1}, input=zoo.Input(1, (8, 8), (0.5,), (0.5,)))
    zoo.save(build("cnn_tiny", num_classes=3, in_channels=1), folder / "n", card)
    written = Rows(folder / "rows.jsonl", zoo.entries(folder), ["digits"])
    for score in (0.25, float("nan")):  # the later row counts
        written.add(Row("n", str(folder / "n"), scores={"logme": score}, warnings=("few samples",)))

    def read() -> dict[Path, str]:
        return {place: repr(row) for place, row in written.read().items()}

    def same(seen: dict[Path, str], expected: dict[Path, str]) -> bool:
        return not seen or seen == expected or "0.25" in seen[folder / "n"]  # of lines that are not whole there is none

    yield Target(written.path, read, True, same)


FAMILIES = (checkpoint, cache, store, archives, pictures, networks, reports, recipes, studies, kept, rows)


@pytest.mark.parametrize("mutations", [CI, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_damaged_is_refused_or_does_not_matter(
    family: Callable[[Path], Iterator[Target]], mutations: int, tmp_path: Path, count: Callable[..., None]
) -> None:
    torch.manual_seed(0)
    for target in family(tmp_path / "files"):
        found = attack(target.path, target.read, mutations, checked=target.checked, same=target.same)
        told = {f"mutations_{what}": number for what, number in found.items()}
        count(mutations_of_files=mutations, **told)
    assert not list(tmp_path.parent.rglob("escaped"))


def test_mutations_differ_from_what_they_are_made_of() -> None:
    data = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5}).encode()
    made = list(mutants(data, 300, random.Random(0)))
    assert len(made) == 300
    assert {name for name, _ in made} >= {*HOSTILE, "cut", "a flipped bit", "an odd value"}
    assert sum(mutant == data for _, mutant in made) < 15
