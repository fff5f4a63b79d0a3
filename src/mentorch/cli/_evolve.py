"""``mentorch evolve``."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._files import write_json
from mentorch._graph import Graph, View
from mentorch.cli import _networks, _training
from mentorch.cli._generation_rows import EVOLVE, measured, with_generations, write
from mentorch.cli._run import Session
from mentorch.cli._structural_recipe import EvolveRecipe
from mentorch.cli._turns import Bench, as_teacher, joined, move, seen, taught
from mentorch.comparison import Method, compare, summarise
from mentorch.data import Dataset
from mentorch.losses import cross_entropy
from mentorch.methods import evolve, supervise
from mentorch.structure import Plan, Split, larger_weights, later_layers, plan, resize, split, uniform, zero
from mentorch.structure._split import hash_seed
from mentorch.training import History


def run(recipe: EvolveRecipe, session: Session) -> None:
    """Evolve a network, beside the same network without evolution."""
    data = _training.dataset(recipe, recipe.train_size)
    named = _networks.make(recipe.network, data)
    if recipe.reset_first and not named.source:
        raise UsageError(f"reset_first has no effect: {recipe.network} has no weights to forget")
    view = named.view or _training.view(recipe, data)
    channels = plan(named.network, seen(view, _training.example(data).inputs[:1]))
    draw = _learner(recipe, data, view)
    job = _Job(recipe, session, data, view, named, channels, draw)
    session.tell(job.rehearse())
    if session.dry_run:
        return
    with session.hold():
        device = _training.device(recipe)
        here = data.to(device)
        move(view, device)
        session.finish(dataclasses.replace(job, data=here, draw=_learner(recipe, here, view)).carry_out())


def _learner(recipe: EvolveRecipe, data: Dataset, view: View | None) -> Callable[[nn.Module], Graph]:
    """How a generation learns.

    Raises:
        UsageError: for a teacher that has learned nothing.
    """
    if recipe.teacher is None:
        loss = functools.partial(cross_entropy, label_smoothing=recipe.label_smoothing)
        return functools.partial(supervise, loss=loss if recipe.label_smoothing else cross_entropy, view=view)
    named = _networks.make(recipe.teacher, data)
    if not named.source:
        raise UsageError(f"teacher {recipe.teacher} has no weights: name the folder of a card, or NAME:WEIGHTS")
    teacher = as_teacher(named, view)
    teacher.network.to(data.train.images.device)
    move(teacher.view, data.train.images.device)
    return taught(recipe.method, teacher, view, data)


@dataclasses.dataclass(frozen=True)
class _Job(Bench):
    recipe: EvolveRecipe
    channels: Plan
    draw: Callable[[nn.Module], Graph]

    @property
    def in_generations(self) -> tuple[str, ...]:
        """The rows that are trained in generations."""
        return (*(name for name in ("restarts",) if name in self.recipe.controls), EVOLVE)

    def kept(self, name: str, seed: int) -> Split | Callable[[nn.Module, int], Split]:
        """What such a row keeps; random weights or channels are others for every seed."""
        recipe, channels = self.recipe, self.channels
        if name == "restarts":
            return split(channels, 1)
        if recipe.mode == "later":
            return later_layers(channels, recipe.layers)
        if recipe.mode == "larger":
            return lambda network, _: larger_weights(network, channels, recipe.keep)
        chosen = functools.partial(split, channels, recipe.keep, mode=recipe.mode)
        if recipe.redraw:
            return lambda _, number: chosen(seed=hash_seed(seed, f"split {number}"))
        return chosen(seed=seed)

    def rehearse(self) -> str:
        """What the run will do; resets are tried on a copy of the network.

        Raises:
            UsageError: for anything that would fail later.
        """
        recipe, network = self.recipe, copy.deepcopy(self.named.network)
        self.generations(network, EVOLVE, recipe.seeds[0], History)
        kept = self.kept(EVOLVE, recipe.seeds[0])
        part = kept if isinstance(kept, Split) else kept(network, 1)
        graph = self.draw(network).build(*_training.example(self.data))
        epochs = recipe.generations * recipe.epochs
        lines = [f"{self.named.name} on {self.data.name}, {len(self.data.train)} training images", str(graph)]
        lines += [f"\nkept between generations ({recipe.mode})", part.describe()]
        if not part.by_channels:
            lines.append(f"mode {recipe.mode} keeps weights, not channels: there is no slim network")
        lines.append(f"\n{recipe.generations} generations of {recipe.epochs} epochs; {len(recipe.seeds)} seeds")
        if recipe.baseline:
            lines.append(f"scratch: {epochs} epochs without evolution, {recipe.lr_schedule} over all of them")
        return "\n".join(lines)

    def generations(self, network: nn.Module, name: str, seed: int, fit: Callable[..., History], **folder: Any) -> Any:
        """The generations of a row, trained when they are asked for."""
        recipe = self.recipe
        return evolve(
            network,
            fit,
            self.draw,
            self.kept(name, seed),
            generations=recipe.generations,
            train=functools.partial(self.batches, seed),
            law={"uniform": uniform, "zero": zero, "initial": self._initial}[recipe.law],
            bias=recipe.bias,
            norm=recipe.norm,
            reset_first=recipe.reset_first and name == EVOLVE,
            seed=seed,
            **folder,
        )

    def _initial(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """A weight as a fresh network has it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            return self._fresh().get_parameter(name)

    def _fresh(self) -> nn.Module:
        return _networks.fresh(self.named)

    def methods(self) -> dict[str, Method]:
        """All that is trained; the rows that evolve go on from what is drawn here."""
        found = {"scratch": Method(self.draw)} if self.recipe.baseline else {}
        if "slim_scratch" in self.recipe.controls:
            found["slim_scratch"] = Method(
                lambda _: self.draw(resize(self._fresh(), self._structure()).to(self.device))
            )
        return {**found, **{name: Method(self.draw) for name in self.in_generations}}

    def _structure(self) -> Mapping[str, Any]:
        return split(self.channels, self.recipe.keep).recipe()

    @property
    def device(self) -> torch.device:
        """Where the data are."""
        return self.data.train.images.device

    def fit(self, graph: Graph, train: Any, *, run: Path, resume: bool, **options: Any) -> History:
        """What ``compare`` calls: a row that evolves is trained in generations, any other in one go."""
        recipe, method, seed = self.recipe, run.parent.name, int(run.name.removeprefix("seed-"))
        if method not in self.in_generations:
            long = _training.trainer(recipe, self.data, epochs=recipe.generations * recipe.epochs)
            return long(graph, train, run=run, resume=resume, **options)
        short = functools.partial(_training.trainer(recipe, self.data), select=recipe.select, **options)
        histories: list[History] = []
        rows: list[dict[str, Any]] = []
        for generation in self.generations(graph.nodes["student"], method, seed, short, run=run, resume=resume):
            histories.append(generation.history)
            if method == EVOLVE:
                last = generation.number == recipe.generations
                rows += measured(self, generation, seed, histories, last=last)
        if method == EVOLVE:
            write(self, rows, run)
        return joined(histories, run, "generation")

    def carry_out(self) -> dict[str, Any]:
        """Train and measure everything; the content of ``results.json``."""
        recipe, folder = self.recipe, self.session.folder

        def save(network: nn.Module, where: Path, row: Mapping[str, Any]) -> None:
            self.keep(network, where, row, (self._structure(),) if row["method"] == "slim_scratch" else ())

        results = compare(
            lambda: _networks.make(recipe.network, self.data).network,
            self.methods(),
            self.data,
            fit=self.fit,
            run=folder,
            seeds=recipe.seeds,
            view=self.view,
            augment=_training.augmentation(recipe, self.data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=recipe.knn,
            retrieval=recipe.retrieval,
            student_name=self.named.name,
            kind="evolve",
            resume=self.session.resume,
            save=save if recipe.save_students != "none" else None,
            on_row=self.forget_checkpoints,
        )
        results["rows"] = with_generations(results["rows"], folder, recipe.select)
        results["summary"] = summarise(results["rows"])
        write_json(folder / "results.json", results)
        return results
