"""The main job: several methods, the same students, the same data, several seeds."""

import dataclasses
import datetime
import itertools
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentorch import _processes
from mentorch._errors import MentorchError, UsageError
from mentorch._files import write_json, write_sealed
from mentorch._graph import Graph, View
from mentorch.comparison._describe import describe_cost, describe_data, describe_graph
from mentorch.comparison._environment import environment
from mentorch.comparison._measure import Neighbours, measure, on_views, outputs
from mentorch.comparison._peak import peak_memory
from mentorch.comparison._resume import OPTIONS, check_options, check_results, finished, options_of, tensors
from mentorch.comparison._summary import summarise
from mentorch.data import Augment, Batches, Dataset
from mentorch.data._batches import Rows
from mentorch.networks import Taps, cost, hash_tensors, taps
from mentorch.training import History, On

SCHEMA = "mentorch.results/1"
RESULT = "result.json"


@dataclass(frozen=True)
class Teacher:
    """A network to learn from, with what must be known about it.

    Attributes:
        network: maps images to logits.
        name: of the network, for tables.
        view: what it sees of the inputs.
        source: where its weights are from.
        places: where its features are, if it does not say so itself.
    """

    network: nn.Module
    name: str = "teacher"
    view: View | None = None
    source: str = ""
    places: Taps | None = None


@dataclass(frozen=True)
class Method:
    """A way to train a student.

    Attributes:
        draw: student -> graph; the student is fresh, and the same for all methods of a seed.
        node: under which name the student is found in the graph; ``*``: the best of several that learn.
        callbacks: made anew for each run.
        view: what its student sees of the inputs, where that is not what the others see.
        own_network: whether what it trains is a network of its own making, which says itself where its features are;
            it is measured like the others, but not kept, as nobody could build it again from the student's name.
        strong: how a batch shows each sample a second time, for losses that compare two views.
    """

    draw: Callable[[nn.Module], Graph]
    node: str = "student"
    callbacks: Callable[[], Sequence[On]] = tuple
    view: View | None = None
    own_network: bool = False
    strong: Augment | None = None


def compare(
    student: Callable[[], nn.Module],
    methods: Mapping[str, Method],
    data: Dataset,
    *,
    fit: Callable[..., History],
    run: str | Path,
    teacher: Teacher | None = None,
    seeds: Sequence[int] = (0,),
    view: View | None = None,
    augment: Augment | None = None,
    views: int | None = None,
    batch_size: int = 64,
    eval_batch_size: int = 128,
    select: Literal["best", "last"] = "best",
    knn: int = 5,
    retrieval: bool = False,
    places: Taps | None = None,
    student_name: str = "student",
    kind: str = "compare",
    resume: bool = False,
    save: Callable[[nn.Module, Path, Mapping[str, Any]], None] | None = None,
    on_row: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train the same student with each method, over several seeds, and measure everything once on the test split.

    For one seed all methods start from the same weights and see the same order of samples and augmentations, whatever
    the order of the methods. Validation data picks the epoch; test data is touched once, at the end of each run.

    Args:
        student: makes a fresh student.
        methods: name -> :class:`Method`.
        data: its training split is learned from.
        fit: ``fit(graph, train, validation=, run=, resume=, callbacks=, monitor...)``: :func:`mentorch.fit` with the
            training options bound by ``functools.partial``.
        run: folder for everything; see ``docs/results.md``.
        teacher: measured beside the students, and the reference for agreement.
        seeds: one run per method and seed.
        view: what the student sees of the inputs.
        augment: of the training images.
        views: so many augmented versions of each image, the same for all methods and seeds; else always new ones.
        batch_size: for training.
        eval_batch_size: for evaluation; memory only.
        select: which weights count as the result: of the best epoch on validation data or the last one. Both are
            measured.
        knn: neighbours of the nearest-neighbour evaluation; 0 leaves it out.
        retrieval: also rank the training images for each test image, by the embedding.
        places: where the student's features are, if it does not say so itself.
        student_name: for tables.
        kind: of the results.
        resume: keep finished runs of the folder, go on with the unfinished one. Methods and seeds may be added; what is
            kept must have been trained with these options, of which those bound to ``fit`` are known.
        save: ``save(network, folder, row)`` keeps a finished student.
        on_row: hears of each finished run.

    Returns:
        The content of ``results.json``.

    Raises:
        UsageError: if the folder holds results already and ``resume`` is not set, or they are of other data, or the
            options make no sense.
        RunError: if the folder cannot be written, or holds a finished run of another student, graph or options; the
            message names what differs. A run that fails otherwise (a NaN, say) becomes a row with its error.
    """
    folder = Path(run)
    if not methods or not seeds:
        raise UsageError("compare needs at least one method and one seed")
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"a seed is given twice: {list(seeds)}")
    check_results(folder / "results.json", resume, data.name, data.fingerprint)
    began = time.perf_counter()
    reference = _Reference(data, teacher, knn, retrieval, eval_batch_size)
    shown = training_batches(data.train, batch_size, augment=augment, seed=seeds[0], views=views)
    example = data.train.images[:1].float() / 255
    job = _Job(
        student, data, fit, folder, reference, seeds, view, augment, views, batch_size, select, places, resume, save
    )
    job.check(methods)
    write_json(folder / "environment.json", environment())
    if isinstance(view, nn.Module):
        view.to(example.device)
    fresh = _seeded(student, seeds[0]).to(example.device)
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": kind,
        "name": folder.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "data": describe_data(data),
        "select": select,
        "teacher": reference.describe(example, shown),
        "student": {"network": student_name, **describe_cost(fresh, example if view is None else view(example))},
        "rows": [],
        "summary": [],
    }
    if why := _mistaken(results["teacher"], data.num_classes):
        results["warnings"] = [why]
    for name, method in methods.items():
        for seed in seeds:
            row = job.row(name, method, seed)
            results["rows"].append(row)
            results["summary"] = summarise(results["rows"])
            results["seconds"] = time.perf_counter() - began
            write_json(folder / "results.json", results)
            if on_row is not None:
                on_row(row)
    return results


class _Reference:
    """The teacher's side of all measurements, computed once."""

    def __init__(self, data: Dataset, teacher: Teacher | None, knn: int, retrieval: bool, batch_size: int):
        self.data, self.teacher, self.batch_size = data, teacher, batch_size
        self.knn, self.retrieval = knn, retrieval
        self.logits: Tensor | None = None
        if teacher is not None:
            self.logits, _ = outputs(teacher.network, data.test, view=teacher.view, batch_size=batch_size)

    def describe(self, example: Tensor, shown: Batches) -> dict[str, Any] | None:
        """The teacher for ``results.json``; ``shown`` are the training images as students see them."""
        if self.teacher is None:
            return None
        network, view = self.teacher.network, self.teacher.view
        return {
            "name": "teacher",
            "network": self.teacher.name,
            **describe_cost(network, example if view is None else view(example)),
            "source": self.teacher.source,
            "views": on_views(network, shown, view=view),
            "validation": measure(network, self.data.validation, view=view, batch_size=self.batch_size),
            "test": measure(
                network,
                self.data.test,
                view=view,
                neighbours=self.neighbours(network, self.teacher.places),
                batch_size=self.batch_size,
            ),
        }

    def neighbours(self, network: nn.Module, places: Taps | None) -> Neighbours | None:
        """How the embedding is judged; None where that is left out, or nobody says where it is."""
        try:
            embedding = (places or taps(network)).embedding if self.knn or self.retrieval else ""
        except UsageError:
            return None
        k = min(self.knn, len(self.data.train))
        return Neighbours(self.data.train, embedding, k, self.retrieval) if embedding else None


@dataclass
class _Job:
    student: Callable[[], nn.Module]
    data: Dataset
    fit: Callable[..., History]
    folder: Path
    reference: _Reference
    seeds: Sequence[int]
    view: View | None
    augment: Augment | None
    views: int | None
    batch_size: int
    select: str
    places: Taps | None
    resume: bool
    save: Callable[[nn.Module, Path, Mapping[str, Any]], None] | None

    def check(self, methods: Mapping[str, Method]) -> None:
        """Refuse to go on with finished runs that were made in another way, before anything is trained."""
        for (name, method), seed in itertools.product(methods.items() if self.resume else (), self.seeds):
            place = self._place(name, seed)
            if (row := finished(place / RESULT)) is not None:
                check_options(place / RESULT, row, self._options(method, self._drawn(method, seed)))

    def row(self, name: str, method: Method, seed: int) -> dict[str, Any]:
        """One run, or what is kept of it."""
        place = self._place(name, seed)
        if self.resume and (row := finished(place / RESULT)) is not None:
            return {key: value for key, value in row.items() if key != OPTIONS}
        history = str(place.relative_to(self.folder) / "metrics.jsonl")
        row = {"method": name, "node": method.node, "seed": seed, "history": history}
        options: dict[str, Any] = {}
        try:
            graph = self._drawn(method, seed)
            options = self._options(method, graph)
            row |= self._train(name, method, seed, place, graph)
        except MentorchError as error:
            if isinstance(error, UsageError) or isinstance(error.__cause__, OSError):
                raise
            row["error"] = str(error)
        write_sealed(place / RESULT, {**row, OPTIONS: options})
        if "error" not in row:
            shutil.rmtree(place / "checkpoints", ignore_errors=True)  # the result is kept; what led there is not needed
        return row

    def _place(self, name: str, seed: int) -> Path:
        return self.folder / "fits" / name / f"seed-{seed}"

    def _drawn(self, method: Method, seed: int) -> Graph:
        network = _seeded(self.student, seed).to(self.data.train.images.device)
        torch.manual_seed(seed)
        return method.draw(network)

    def _options(self, method: Method, graph: Graph) -> dict[str, Any]:
        """What a kept row and this one must have in common."""
        teacher, reference = self.reference.teacher, self.reference
        return options_of(
            graph,
            self.fit,
            data=self.data.fingerprint,
            batch_size=self.batch_size,
            augment=self.augment,
            strong=method.strong,
            versions=self.views,
            view=self.view if method.view is None else method.view,
            node=method.node,
            select=self.select,
            teacher=None if teacher is None else hash_tensors(tensors(teacher.network)),
            knn=reference.knn,
            retrieval=reference.retrieval,
            places=self.places,
        )

    def _train(self, name: str, method: Method, seed: int, place: Path, graph: Graph) -> dict[str, Any]:
        data = self.data
        train = training_batches(data.train, self.batch_size, augment=self.augment, seed=seed, views=self.views)
        train = dataclasses.replace(train, strong=method.strong)
        validation = Batches(data.validation, self.reference.batch_size)
        torch.manual_seed(seed)
        peak = peak_memory(data.train.images.device)
        history = self.fit(
            graph, train, validation=validation, run=place, resume=self.resume, callbacks=tuple(method.callbacks())
        )
        last = graph.nodes[graph.learning[0] if method.node == "*" else method.node]
        best_node = history.best_node if method.node == "*" else method.node
        row: dict[str, Any] = {
            "method": name,
            "seed": seed,
            "epochs": len(history.records),
            "best_epoch": history.best_epoch,
            "stopped": history.stopped,
            "seconds": history.records[-1]["seconds"],
            "peak_memory": peak(),
            "trained_samples": history.samples,
            "macs": self._macs(graph, history),
            "parameters": sum(p.numel() for p in last.parameters()),
            "graph": describe_graph(graph),
            "validation": {},
            "test": {},
        }
        view = self.view if method.view is None else method.view
        places = None if method.own_network else self.places
        states = {"last": {k: v.clone() for k, v in last.state_dict().items()}, "best": history.best_weights[best_node]}
        for which, state in states.items():
            last.load_state_dict(state)
            row["validation"][which] = measure(last, data.validation, view=view, batch_size=self.reference.batch_size)
            row["test"][which] = measure(
                last,
                data.test,
                view=view,
                teacher_logits=self.reference.logits,
                neighbours=self.reference.neighbours(last, places),
                batch_size=self.reference.batch_size,
            )
        last.load_state_dict(states[self.select])
        row["model"] = None
        if self.save is not None and not method.own_network:
            row["model"] = f"nodes/{name}-seed-{seed}"
            self.save(last, self.folder / row["model"], row)
        return row

    def _macs(self, graph: Graph, history: History) -> int:
        """Multiply-adds of training: each pass that was made, the backward pass as two."""
        example = self.data.train.images[:1].float() / 255
        total = 0
        for name, node in graph.nodes.items():
            passes = history.forwards.get(name, 0) + 2 * history.backwards.get(name, 0)
            view = graph.views.get(name)
            total += passes * cost(node, example if view is None else view(example)).macs
        return total


def training_batches(
    split: Rows, batch_size: int, *, augment: Augment | None = None, seed: int = 0, views: int | None = None
) -> Batches:
    """Shuffled batches; the last one is left out where it would be a single sample.

    Batch normalisation and losses on relations need more than one. With ``views`` there are so many versions of each
    image, and they are the same for all seeds, so that runs can share what a teacher says of them. Processes that train
    together share each batch.

    Raises:
        UsageError: if a batch is larger than the split, or cannot be shared.
    """
    if batch_size > len(split):
        raise UsageError(f"batch size {batch_size} is larger than the training split ({len(split)} images)")
    own, world = _processes.share(batch_size), _processes.world()
    alone = len(split) // world % own == 1
    shared = None if views is None else 0
    return Batches(split, own, shuffle=True, augment=augment, seed=seed, drop_last=alone, views=views, view_seed=shared)


def _mistaken(teacher: Mapping[str, Any] | None, classes: int) -> str:
    """Why a teacher cannot be meant for these images; empty if it can."""
    if teacher is None:
        return ""
    seen, known = teacher["views"]["accuracy"], teacher["validation"]["accuracy"]
    if seen >= min(1.5 / classes, 0.9) and seen >= known / 2:
        return ""
    return (
        f"the teacher is right for {seen:.1%} of the images as the student sees them, and for {known:.1%} of the "
        "validation images: does it know this normalisation, this augmentation, this order of classes?"
    )


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
