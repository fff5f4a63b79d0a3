"""``mentorch branch``."""

import copy
import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentorch import zoo
from mentorch._edge import Edge
from mentorch._errors import MentorchError, RunError, UsageError
from mentorch._files import read_sealed, write_json, write_sealed
from mentorch._freeze import freeze, thawed
from mentorch._graph import Graph
from mentorch.cli import _dense, _training
from mentorch.cli._branch_pictures import ANIMATION, Pictures
from mentorch.cli._branch_recipe import RANDOM, BranchRecipe
from mentorch.cli._branch_results import described, in_one_line, student_card, training_macs
from mentorch.cli._dense_teachers import DenseTeacher, planned, trained
from mentorch.cli._run import Session
from mentorch.cli._turns import joined
from mentorch.comparison import describe_graph, environment, peak_memory, summarise, training_batches
from mentorch.data import Batches, Normalize, dense
from mentorch.methods import branch
from mentorch.networks import Branched, EncoderDecoder, branched, build, cost, state_hash
from mentorch.training import History, Monitor, animate


def run(recipe: BranchRecipe, session: Session) -> None:
    """Branch the tasks, beside all baselines."""
    data = _dense.data_of(recipe)
    teachers = planned(recipe, data)
    job = _Job(recipe, session, data, _dense.view_of(data), teachers)
    session.tell(job.rehearse())
    if session.dry_run:
        return
    with session.hold():
        here = data.to(_training.device(recipe))
        job.view.to(here.train.images.device)
        job = dataclasses.replace(job, data=here)
        ready = {task: trained(task, teacher, recipe, session, here, job.view) for task, teacher in teachers.items()}
        session.finish(dataclasses.replace(job, teachers=ready).carry_out())


@dataclasses.dataclass(frozen=True)
class _Job:
    recipe: BranchRecipe
    session: Session
    data: dense.DenseDataset
    view: Normalize
    teachers: Mapping[str, DenseTeacher]

    @property
    def networks(self) -> dict[str, EncoderDecoder]:
        """The teachers' networks."""
        return {task: teacher.network for task, teacher in self.teachers.items()}

    @functools.cached_property
    def depths(self) -> int:
        """How many depths a branch may leave at."""
        return len(next(iter(self.networks.values())).decoder)

    @functools.cached_property
    def pictures(self) -> Pictures:
        """What is shown of some test images."""
        return Pictures(self.recipe, self.session.folder, self.data, self.view, self.networks)

    @property
    def budget(self) -> int:
        """Epochs of everything that is compared."""
        return self.depths * self.recipe.search_epochs + self.recipe.epochs

    def begin(self, seed: int) -> EncoderDecoder:
        """What the trunks of all students of a seed start as."""
        start = self.recipe.start or self.recipe.tasks[0]
        return self.fresh(seed, 1) if start == RANDOM else thawed(self.networks[start])

    def fresh(self, seed: int, outputs: int) -> EncoderDecoder:
        """A network with random weights; the random state is left alone."""
        images = self.data.train.images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = build(self.recipe.network, num_classes=outputs, in_channels=images.shape[1])
        assert isinstance(made, EncoderDecoder)
        return made.to(images.device)

    def rehearse(self) -> str:
        """What a run will do, tried on two images.

        Raises:
            UsageError: for anything that would fail later.
        """
        data, recipe = self.data, self.recipe
        splits = {"training": data.train, "validation": data.validation, "test": data.test}
        height, width = data.size
        lines = [f"{data.name}: {', '.join(f'{len(s)} {name}' for name, s in splits.items())} images, {height}x{width}"]
        for task, teacher in self.teachers.items():
            lines.append(f"{task}: {teacher.name}, {teacher.source or 'to be trained'}")
        if recipe.batch_size > len(data.train):
            raise UsageError(f"batch size {recipe.batch_size} is larger than the data ({len(data.train)} images)")
        copies = {task: freeze(copy.deepcopy(network)) for task, network in self.networks.items()}
        batch = next(iter(Batches(data.train, 2)))
        heads = {task: (network, self.depths - 1) for task, network in copies.items()}
        student = thawed(branched(copy.deepcopy(next(iter(copies.values()))), heads))
        lines.append(f"\nkd\n{self.taught(student, copies).build(*batch)}")
        lines.append(
            f"\nbranch: {self.depths} depths of {recipe.search_epochs} epochs, then {recipe.epochs}; "
            f"everybody else {self.budget} epochs; {len(recipe.seeds)} seeds"
        )
        return "\n".join(lines)

    def taught(self, student: nn.Module, teachers: Mapping[str, nn.Module]) -> Graph:
        """All teachers at once."""
        edges = [Edge(task, f"student:{task}", *given) for task, given in _dense.from_teachers(self.recipe).items()]
        return Graph({**teachers, "student": student}, edges, views=dict.fromkeys((*teachers, "student"), self.view))

    def supervised(self, student: nn.Module) -> Graph:
        """All labels at once."""
        weight = self.recipe.weight
        edges = [
            Edge(f"labels.{task}", f"student:{task}", _dense.FROM_LABELS[task], weight.get(task, 1.0))
            for task in self.recipe.tasks
        ]
        return Graph({"student": student}, edges, views={"student": self.view})

    def carry_out(self) -> dict[str, Any]:
        """Train and measure everything; the content of ``results.json``."""
        folder, began = self.session.folder, time.perf_counter()
        write_json(folder / "environment.json", environment())
        results = described(self.recipe, folder.name, self.data, self.teachers, self.view)
        self.pictures.keep_targets()
        for seed in self.recipe.seeds:  # all methods of a seed first: what is there can be compared
            for name in self.recipe.methods:
                row = self.row(name, seed)
                results["rows"].append(row)
                results["summary"] = summarise(results["rows"])
                results["seconds"] = time.perf_counter() - began
                write_json(folder / "results.json", results)
                self.session.tell(in_one_line(row, self.recipe))
        return results

    def row(self, name: str, seed: int) -> dict[str, Any]:
        """One student, or what is kept of it."""
        place = self.session.folder / "fits" / name / f"seed-{seed}"
        kept = place / "result.json"
        if self.session.resume and kept.exists() and "error" not in (before := read_sealed(kept)):
            return dict(before)
        history = str((place / "metrics.jsonl").relative_to(self.session.folder))
        row: dict[str, Any] = {"method": name, "node": "student", "seed": seed, "history": history}
        try:
            row |= self.student(name, seed, place)
        except MentorchError as error:
            if isinstance(error, UsageError) or isinstance(error.__cause__, OSError):
                raise
            row["error"] = str(error)
        write_sealed(kept, row)
        if "error" not in row:
            for folder in (place / "checkpoints", *place.glob("*/checkpoints")):
                shutil.rmtree(folder, ignore_errors=True)
        return row

    def student(self, name: str, seed: int, place: Path) -> dict[str, Any]:
        """Train a student, measure and keep it."""
        recipe, data = self.recipe, self.data
        train = training_batches(data.train, recipe.batch_size, augment=_dense.augmentation(recipe), seed=seed)
        torch.manual_seed(seed)
        peak = peak_memory(data.train.images.device)
        way = self.searched if name in ("branch", "random_path") else self.direct
        network, history, graph, extra = way(name, seed, place, train)
        size = cost(network, data.train.images[:1].float() / 255)
        row: dict[str, Any] = {
            "seed": seed,
            "epochs": len(history.records),
            "best_epoch": history.best_epoch,
            "seconds": history.records[-1]["seconds"],
            "peak_memory": peak(),
            "trained_samples": history.samples,
            "parameters": size.parameters,
            "inference_macs": size.macs,
            "branches": network.tree.plan(),
            "graph": describe_graph(graph),
            **extra,
        }
        for part in ("validation", "test"):
            split = getattr(data, part)
            row[part] = {
                recipe.select: _dense.measured(network, data, split, recipe.tasks, self.view, recipe.eval_batch_size)
            }
        row["model"] = None
        if recipe.save_students == "all":
            row["model"] = f"nodes/{name}-seed-{seed}"
            parents = tuple(state_hash(teacher) for teacher in self.networks.values())
            about = student_card(f"{self.session.folder.name}/{name}-seed-{seed}", recipe, data, network, row, parents)
            zoo.save(network, self.session.folder / row["model"], about)
        if seed == recipe.seeds[0]:
            self.pictures.keep(name, network)
        return row

    def searched(
        self, name: str, seed: int, place: Path, train: Batches
    ) -> tuple[Branched, History, Graph, dict[str, Any]]:
        """Task branching."""
        recipe, random_path = self.recipe, name == "random_path"
        fits = {
            "search": self.fit(train, recipe.search_epochs * (self.depths if random_path else 1)),
            "together": self.fit(train, recipe.epochs),
        }
        stages, spent = [], 0
        for stage in branch(
            self.networks,
            self.begin(seed),
            fits,
            _dense.from_teachers(recipe),
            validation=Batches(self.data.validation, recipe.eval_batch_size),
            variant="random_path" if random_path else "paper",
            train_trunk=recipe.train_trunk,
            views=dict.fromkeys((*self.networks, "student"), self.view),
            seed=seed,
            run=place,
            resume=self.session.resume,
        ):
            stages.append(stage)
            spent += training_macs(stage.graph, stage.history, self.data)
        last = stages[-1]
        assert isinstance(last.network, Branched)
        history = joined([stage.history for stage in stages], place, "stage")
        self.session.tell(f"{name} seed {seed}: branches leave at {last.depths}")
        if self.recipe.animate and name == "branch" and seed == self.recipe.seeds[0]:
            animate([place / stage.name for stage in stages], self.session.folder / ANIMATION)
        return last.network, history, last.graph, {"held_out": last.scores, "depths": last.depths, "macs": spent}

    def direct(
        self, name: str, seed: int, place: Path, train: Batches
    ) -> tuple[Branched, History, Graph, dict[str, Any]]:
        """A student trained in one go."""
        kind, _, same = name.partition("_")
        depths = dict.fromkeys(self.networks, self.depths - 1)
        if same:
            before = read_sealed(self.session.folder / "fits" / "branch" / f"seed-{seed}" / "result.json")
            if "error" in before:
                raise RunError(f"branch found no network for seed {seed}: {before['error']}")
            depths = before["depths"]
        ends = self.networks
        if self.recipe.start == RANDOM:
            ends = {task: self.fresh(seed, _dense.outputs_of(self.data, task)) for task in self.recipe.tasks}
        network = thawed(branched(self.begin(seed), {task: (end, depths[task]) for task, end in ends.items()}))
        graph = self.supervised(network) if kind == "labels" else self.taught(network, self.networks)
        history = self.fit(train, self.budget)(graph, run=place, resume=self.session.resume)
        return network, history, graph, {"macs": training_macs(graph, history, self.data)}

    def fit(self, train: Batches, epochs: int) -> Callable[..., History]:
        """:func:`mentorch.fit` with everything bound but the graph and its folder."""
        recipe = self.recipe
        made = _training.trainer(recipe, self.data, epochs=epochs)
        bound = functools.partial(
            made,
            train=train,
            validation=Batches(self.data.validation, recipe.eval_batch_size),
            metrics=_dense.validation_metrics(recipe.tasks),
            monitor=Monitor("loss", node="student"),
            select=recipe.select,
            diagnose=None,
        )

        def fitting(graph: Graph, *, run: Path, resume: bool) -> History:
            return bound(graph, run=run, resume=resume, callbacks=self.pictures.album(run))

        return fitting
