"""What is searched for: a target, those who may teach it, the data, and how everything is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentorch._edge import without_addresses
from mentorch._errors import RunError, UsageError
from mentorch._files import read_sealed, write_atomic, write_sealed
from mentorch._graph import Graph, View
from mentorch.comparison import training_batches
from mentorch.data import Augment, Batches, Dataset
from mentorch.methods import supervise
from mentorch.networks import hash_tensors
from mentorch.search._candidate import TARGET, Candidate
from mentorch.search._lock import held
from mentorch.search._space import Space
from mentorch.training import History, On

_STRIDE = 1000  # between the seeds of networks of one graph
_APART = 500  # a partner of the target's own architecture must not start with the target's weights


@dataclass(frozen=True)
class Problem:
    """The target, those who may teach it, the data, and how everything is trained.

    Attributes:
        target: makes a fresh target.
        partners: architecture -> makes a fresh network of it.
        data: only its training and validation splits are used by a search.
        fit: :func:`mentorch.fit` with training options bound, but for the optimiser and the epochs.
        optimizer: a factory, asked once per node so that nodes cannot influence each other.
        epochs: of each training.
        view: what the networks see of the inputs.
        augment: of the training images.
        batch_size: for training.
        eval_batch_size: for evaluation; memory only.
        target_name: for tables.
        about: the training options in words, to be compared where processes share a search; how ``fit`` and
            ``optimizer`` print unless given.

    Raises:
        UsageError: for a partner called ``target``.
    """

    target: Callable[[], nn.Module]
    partners: Mapping[str, Callable[[], nn.Module]]
    data: Dataset
    fit: Callable[..., History]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    epochs: int
    view: View | None = None
    augment: Augment | None = None
    batch_size: int = 64
    eval_batch_size: int = 128
    target_name: str = "target"
    about: str = ""

    def __post_init__(self) -> None:
        if TARGET in self.partners:
            raise UsageError(f"a partner cannot be called {TARGET!r}, as the target itself is: give it another name")

    def train(self, graph: Graph, train: Any, **options: Any) -> History:
        """``fit`` with one optimiser per node, as :func:`mentorch.comparison.compare` calls it."""
        optimizers = dict.fromkeys(graph.learning, self.optimizer)
        return self.fit(graph, train, optimizer=optimizers, epochs=self.epochs, **options)

    def carry_out(self, graph: Graph, seed: int, place: Path, callbacks: Sequence[On] = ()) -> History:
        """Train a graph in a folder; go on there if that was interrupted. Only validation data judge it."""
        torch.manual_seed(seed)
        batches = training_batches(self.data.train, self.batch_size, augment=self.augment, seed=seed)
        validation = Batches(self.data.validation, self.eval_batch_size)
        return self.train(graph, batches, validation=validation, run=place, resume=True, callbacks=tuple(callbacks))

    def draw(self, candidate: Candidate, space: Space, seed: int, run: Path, target: nn.Module | None = None) -> Graph:
        """The graph of a candidate: fresh networks, but for frozen partners, which were trained before.

        The networks depend on the seed and on their place in the canonical form only.

        Args:
            candidate: what to draw; in canonical form.
            space: where it is from.
            seed: of the networks.
            run: folder of the search, which keeps the networks that were trained before.
            target: the target, if it is there already.
        """
        networks = {TARGET: made(self.target, seed) if target is None else target}
        seen: dict[str, int] = {}
        for i, (name, frozen) in enumerate(zip(candidate.partners, candidate.frozen, strict=True)):
            if frozen:  # two frozen partners of one architecture are different networks
                networks[candidate.names[i + 1]] = self.trained(name, seed + _STRIDE * seen.get(name, 0), run)
                seen[name] = seen.get(name, 0) + 1
            else:
                networks[candidate.names[i + 1]] = made(self.partners[name], seed + _STRIDE * (i + 1))
        return candidate.draw(networks, space.loss(candidate), self.view)

    def trained(self, name: str, seed: int, run: Path) -> nn.Module:
        """A partner, or the target, that learned from the labels alone; once per search, by whoever comes first.

        Raises:
            RunError: if the kept weights are of other data or another training, or damaged.
        """
        from safetensors.torch import load_file, save_file

        home = run / "partners" / f"{name.replace('/', '-').replace(':', '-')}-seed-{seed}"
        network = made(self.target, seed) if name == TARGET else made(self.partners[name], seed + _APART)
        with held(home / ".lock"):
            if not (home / "card.json").exists():
                history = self.carry_out(supervise(network, view=self.view), seed, home / "fit")
                # copies: safetensors refuses tensors that share memory, such as tied weights
                state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
                write_atomic(home / "weights.safetensors", lambda file: save_file(state, file))
                card = {"network": name, "seed": seed, **self.to_data(), "hash": hash_tensors(state)}
                write_sealed(home / "card.json", {**card, "validation": history.records[-1]["validation"]["student"]})
                return network
            card = read_sealed(home / "card.json")
            for key, here in self.to_data().items():
                if card.get(key) != here:
                    raise RunError(f"{home} holds a network with other {key}: {card.get(key)!r} there, {here!r} here")
            try:
                state = load_file(home / "weights.safetensors")
                network.load_state_dict(state)
            except Exception as error:
                raise RunError(f"{home} is damaged: {' '.join(str(error).split())}") from error
            if hash_tensors(state) != card["hash"]:
                raise RunError(f"{home} is damaged: the weights are not those of its card")
        return network

    def to_data(self) -> dict[str, Any]:
        """What two searches must have in common to share results, beside the space."""
        sizes = {name: _size(make) for name, make in {self.target_name: self.target, **self.partners}.items()}
        return {
            "data": self.data.fingerprint,
            "networks": sizes,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "training": self.about or _described(self.fit, self.optimizer),
            "seen": _described(self.view, self.augment),
        }

    def check(self, space: Space) -> None:
        """Refuse a space whose partners nobody can make, and batches that the data do not have.

        Raises:
            UsageError: naming the partner, or the size of a batch.
        """
        training_batches(self.data.train, self.batch_size)
        for name in space.partners:
            if name not in self.partners:
                known = ", ".join(sorted(self.partners))
                raise UsageError(f"unknown partner {name!r}: nothing makes it (known: {known})")


def made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A fresh network whose weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _size(make: Callable[[], nn.Module]) -> int:
    return sum(parameter.numel() for parameter in made(make, 0).parameters())


def _described(*parts: Any) -> str:
    """How things print."""
    return without_addresses(", ".join(map(repr, parts)))
