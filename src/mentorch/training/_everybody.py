"""What belongs to each of several processes, in the checkpoint that the first one writes for all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mentorch import _processes
from mentorch.training import _checkpoint
from mentorch.training._training import Sums, Training


def of_all(own: Mapping[str, Any], device: torch.device) -> list[dict[str, Any]]:
    """The parts of all processes, in the order of ranks; each must ask for them."""
    from safetensors.torch import load, save

    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_checkpoint.pack(own, tensors)).encode()
    heads, bodies = _processes.from_all(plain, device), _processes.from_all(save(tensors), device)
    return [_checkpoint.unpack(json.loads(head), load(body)) for head, body in zip(heads, bodies, strict=True)]


def take_part(training: Training, parts: Sequence[Mapping[str, Any]], rank: int, world: int) -> dict[str, Any]:
    """Go on from the parts of a checkpoint; the random state to go on with.

    As many processes as wrote it take one part each. Other numbers of them share what is left: the first one takes all
    sums, and who has no random stream derives one from the first.
    """
    mine = parts[rank] if rank < len(parts) else {**parts[0], "random": derived(parts[0]["random"], rank)}
    if len(parts) == world:
        training.take(mine["sums"], mine["samples"])
    elif rank:
        training.take([], 0)
    else:
        together = Sums()
        for part in parts:
            for names, values in part["sums"]:
                together.add(tuple(names), values.clone())
        training.take([[names, values] for names, values in together.of.items()], sum(p["samples"] for p in parts))
    training.epoch_random = mine["epoch_random"]
    return dict(mine["random"])


def derived(random: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """A random state of another process: torch's stream is its own, a function of the given one and the rank."""
    digest = hashlib.sha256(bytes(random["torch"].tolist()) + rank.to_bytes(4)).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    return {**random, "torch": generator.get_state()}


def begin(training: Training, rank: int) -> None:
    """Before the first step: the weights of the first process in all of them, and a random stream for each."""
    _processes.as_in_the_first(_learned(training))
    if rank:
        state = _checkpoint.random_state(training.generators)
        _checkpoint.set_random_state(derived(state, rank), training.generators)


def end(training: Training, device: torch.device) -> None:
    """After the last step: the random stream of the first process in all, so that what follows is the same in all."""
    own = _checkpoint.random_state(training.generators)
    first = of_all({"random": own}, device)[0]["random"]
    _checkpoint.set_random_state({**first, "own": own["own"]}, training.generators)


def settle(training: Training) -> None:
    """The buffers of the first process in all: running statistics, and what losses remember."""
    _processes.as_in_the_first(tensor for module in _modules(training) for tensor in module.buffers())


def _learned(training: Training) -> list[Tensor]:
    return [tensor for module in _modules(training) for tensor in (*module.parameters(), *module.buffers())]


def _modules(training: Training) -> list[torch.nn.Module]:
    nodes = [training.graph.nodes[name] for name in training.graph.learning]
    return [*nodes, training.graph.owned, *training.averages.values()]
