"""``mentorch slim``."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._files import read_sealed, write_json, write_sealed
from mentorch._graph import Graph
from mentorch.cli import _networks, _training
from mentorch.cli._run import Session
from mentorch.cli._structural_recipe import FINETUNE, SlimRecipe
from mentorch.cli._turns import Bench, as_teacher, joined, known, move, seen, taught
from mentorch.comparison import Method, Teacher, compare, summarise
from mentorch.methods import slim_down, supervise
from mentorch.networks import cost, state_hash
from mentorch.structure import Plan, plan, prune, resize, scores
from mentorch.training import History

_STEPS = "steps.json"
_GRADIENT_BATCHES = 16


def run(recipe: SlimRecipe, session: Session) -> None:
    """Slim a network down with each method, beside a network of the same cost from fresh weights."""
    data = _training.dataset(recipe, recipe.train_size)
    named = _networks.make(recipe.network, data)
    if not named.source:
        raise UsageError(f"{recipe.network} has no weights: train it first (mentorch train), and name its folder")
    view = named.view or _training.view(recipe, data)
    job = _Job(recipe, session, data, view, named, as_teacher(dataclasses.replace(named, network=_copy(named)), view))
    session.tell(job.rehearse())
    if session.dry_run:
        return
    with session.hold():
        device = _training.device(recipe)
        teacher = dataclasses.replace(job.whole, network=job.whole.network.to(device))
        named.network.to(device)
        move(view, device)
        session.finish(dataclasses.replace(job, data=data.to(device), whole=teacher).carry_out())


def _copy(named: _networks.Named) -> nn.Module:
    return copy.deepcopy(named.network)


@dataclasses.dataclass(frozen=True)
class _Job(Bench):
    recipe: SlimRecipe
    whole: Teacher

    @property
    def example(self) -> Tensor:
        """One image as the network sees it."""
        return seen(self.view, _training.example(self.data).inputs[:1])

    @functools.cached_property
    def narrow(self) -> Mapping[str, Any]:
        """The recipe of a network of the target's cost, equally narrower everywhere."""
        channels, recipe = plan(self.named.network, self.example), self.recipe
        return prune(self.named.network, channels, to=recipe.to, of=recipe.of, scope="layer").recipe()

    @property
    def baseline_epochs(self) -> int:
        """Of the network from fresh weights: as many as all the others have had, as far as that is known."""
        recipe, card = self.recipe, self.named.card
        before = card.training.get("epochs") if card is not None else None
        return recipe.baseline_epochs or recipe.steps * recipe.epochs + (before if isinstance(before, int) else 0)

    def rehearse(self) -> str:
        """What the run will do; the first step is tried, and every graph.

        Raises:
            UsageError: for anything that would fail later.
        """
        recipe, batch = self.recipe, _training.example(self.data)
        channels = plan(self.named.network, self.example)
        part = prune(self.named.network, channels, by=self._scores(self.named.network, channels), **self._target())
        lines = [f"{self.named.name} on {self.data.name}, {len(self.data.train)} training images"]
        lines += [f"what a single step to {recipe.to:g} of the {recipe.of} keeps", part.describe()]
        small = _networks.fresh(self.named)
        for method in recipe.methods:
            lines.append(f"\n{method}\n{self._learner(method)(resize(small, self.narrow)).build(*batch)}")
        lines.append(f"\n{recipe.steps} steps, {recipe.epochs} epochs after each; {len(recipe.seeds)} seeds")
        if recipe.baseline:
            lines.append(f"scratch: {self.baseline_epochs} epochs from fresh weights at the same cost")
        return "\n".join(lines)

    def _target(self) -> dict[str, Any]:
        return {"to": self.recipe.to, "of": self.recipe.of, "scope": self.recipe.scope}

    def _scores(self, network: nn.Module, channels: Plan, seed: int = 0) -> Tensor:
        """How important each channel is; gradients are those of some training images, without augmentation."""
        if self.recipe.by != "taylor":
            return scores(network, channels, self.recipe.by, seed=seed)
        network = copy.deepcopy(network)  # to look at gradients moves the statistics of batch norms
        graph = supervise(network, view=self.view)
        for _, batch in zip(range(_GRADIENT_BATCHES), self.batches(seed, 1, augmented=False), strict=False):
            torch.autograd.backward(torch.stack(list(graph(batch.inputs, batch.labels).values())).sum())
        return scores(network, channels, "taylor")

    def _learner(self, method: str) -> Callable[[nn.Module], Graph]:
        if method == FINETUNE:
            return functools.partial(supervise, view=self.view)
        return taught(method, self.whole, self.view, self.data)

    def methods(self) -> dict[str, Method]:
        """All that is trained; what a row begins with, or the narrow network from fresh weights."""
        found = {}
        if self.recipe.baseline:
            narrow = functools.partial(resize, recipe=self.narrow)
            device = self.data.train.images.device
            found["scratch"] = Method(
                lambda _: supervise(narrow(_networks.fresh(self.named)).to(device), view=self.view)
            )
        return {**found, **{method: Method(self._learner(method)) for method in self.recipe.methods}}

    def fit(self, graph: Graph, train: Any, *, run: Path, resume: bool, **options: Any) -> History:
        """What ``compare`` calls: the baseline is trained in one go, the others step by step."""
        recipe, method, seed = self.recipe, run.parent.name, int(run.name.removeprefix("seed-"))
        if method == "scratch":
            long = _training.trainer(recipe, self.data, epochs=self.baseline_epochs)
            return long(graph, train, run=run, resume=resume, **options)
        learn = self._learner(method)
        short = functools.partial(_training.trainer(recipe, self.data), train=train, select=recipe.select, **options)
        histories, macs = [], 0
        for step in slim_down(
            graph.nodes["student"],
            short,
            lambda small, _: learn(small),
            self.example,
            by=functools.partial(self._scores, seed=seed),
            steps=recipe.steps,
            seed=seed,
            run=run,
            resume=resume,
            **self._target(),
        ):
            histories.append(step.history)
            frozen = 0 if method == FINETUNE else cost(self.whole.network, self.example).macs
            macs += step.history.samples * (3 * cost(step.network, self.example).macs + frozen)
            size = sum(p.numel() for p in step.network.parameters())
            self.session.tell(f"{method}, seed {seed}, step {step.number} of {recipe.steps}: {size:,} parameters")
        write_sealed(run / _STEPS, {"macs": macs, "structure": step.structure})
        graph.nodes["student"] = step.network  # what is measured and kept
        return joined(histories, run, "pruning")

    def carry_out(self) -> dict[str, Any]:
        """Train and measure everything; the content of ``results.json``."""
        recipe, folder = self.recipe, self.session.folder
        parents = (state_hash(self.whole.network),)

        def save(network: nn.Module, where: Path, row: Mapping[str, Any]) -> None:
            if row["method"] == "scratch":
                self.keep(network, where, row, (self.narrow,))
            else:
                self.keep(network, where, row, self._steps(row)["structure"], parents)

        results = compare(
            lambda: _copy(self.named),
            self.methods(),
            self.data,
            fit=self.fit,
            run=folder,
            teacher=self.whole,
            seeds=recipe.seeds,
            view=self.view,
            augment=_training.augmentation(recipe, self.data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=recipe.knn,
            retrieval=recipe.retrieval,
            student_name=f"{self.named.name}, slim",
            kind="slim",
            resume=self.session.resume,
            save=save if recipe.save_students != "none" else None,
            on_row=self.forget_checkpoints,
        )
        narrow = resize(_networks.fresh(self.named), self.narrow).to(self.data.train.images.device)
        results["student"] = {"network": f"{self.named.name}, slim", **dataclasses.asdict(cost(narrow, self.example))}
        results["rows"] = [
            row
            if "error" in row or row["method"] == "scratch"
            else known({**row, "macs": self._steps(row)["macs"]}, recipe.select)
            for row in results["rows"]
        ]
        results["summary"] = summarise(results["rows"])
        write_json(folder / "results.json", results)
        return results

    def _steps(self, row: Mapping[str, Any]) -> Any:
        return read_sealed(self.session.folder / "fits" / row["method"] / f"seed-{row['seed']}" / _STEPS)
