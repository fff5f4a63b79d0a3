"""What kept outputs depend on, as data: written beside them, compared before they are used."""

import fcntl
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch._files import read_sealed, write_sealed
from mentorch._freeze import precision_of
from mentorch._graph import Graph
from mentorch.data import Augment, Batches, sample_keys
from mentorch.networks import hash_tensors, state_hash
from mentorch.training._describe import described

SCHEMA = "mentorch.cache/3"
_TWO_MODES = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def fingerprint(graph: Graph, name: str, batches: Batches) -> dict[str, Any]:
    """Everything that decides what a frozen node shows for (sample, view), apart from rounding.

    Raises:
        UsageError: if the outputs are not a function of sample and view, or it cannot be told which function.
    """
    node, view = graph.nodes[name], graph.views.get(name)
    seen = view.named_modules(prefix="view") if isinstance(view, nn.Module) else ()
    for path, module in (*node.named_modules(), *((path, m) for path, m in seen if isinstance(m, _TWO_MODES))):
        untracked = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        if module.training or untracked:
            where = path or type(module).__name__
            raise UsageError(
                f"outputs of {name!r} cannot be kept: {where!r} is in training mode, or uses batch statistics"
            )
    try:
        weights = state_hash(node)
    except UsageError as error:
        raise UsageError(f"outputs of {name!r} cannot be kept: {error}") from error
    device = next((p.device.type for p in node.parameters()), "cpu")
    around = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return {
        "schema": SCHEMA,
        "weights": weights,
        "network": describe(node, "network"),
        "view": describe(view, "view"),
        "samples": hash_tensors({"images": batches.split.images, "index": batches.split.index}),
        "augmentation": describe(batches.augment, "augmentation"),
        "view seed": None if batches.augment is None else _view_seed(batches),
        "precision": str(precision_of(node) or around or "as the network"),
    }


def agree(path: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The card at ``path``, or None if there is none.

    Raises:
        UsageError: if it says something else than ``facts``; the message names what.
    """
    if not path.exists():
        return None
    card: dict[str, Any] = read_sealed(path)
    for key, here in facts.items():
        if (there := card.get(key)) != here:
            advice = "; Batches(view_seed=...) shares views between seeds" if key == "view seed" else ""
            raise UsageError(
                f"cache {path.parent} is for other {key}: {_short(there)} there, {_short(here)} here; "
                f"choose another folder or delete it{advice}"
            )
    return card


def settle(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a card, or agree with the one that somebody else wrote in the meantime.

    Raises:
        UsageError: if that one says something else.
        RunError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / ".lock").open("w")
    except OSError as error:
        raise RunError(f"cannot use cache folder {path.parent}: {error.strerror or error}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # for the moment of comparing and writing; dies with the process
        card = agree(path, facts)
        if card is None:
            write_sealed(path, card := dict(facts))
        return card


def describe(thing: object, role: str) -> str:
    """What a network, view or augmentation is, in words that are the same in every process.

    Raises:
        UsageError: for something that does not say what it does, such as a lambda.
    """
    if isinstance(thing, nn.Module):
        structure = hashlib.sha256(described(thing).encode()).hexdigest()[:16]
        return f"{type(thing).__name__} {structure}" + (f" {state_hash(thing)[:16]}" if role == "view" else "")
    if isinstance(thing, functools.partial):
        words = [f"{key}={describe(value, role)}" for key, value in thing.keywords.items()]
        return f"{describe(thing.func, role)}({', '.join([*(describe(arg, role) for arg in thing.args), *words])})"
    owner = getattr(thing, "__self__", None)
    if hasattr(thing, "__qualname__") and not isinstance(owner, ModuleType | None):
        return f"{describe(owner, role)}.{thing.__qualname__}"
    text = f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else repr(thing)
    if any(mark in text for mark in (" at 0x", "<lambda>", "<locals>")):
        raise UsageError(f"outputs cannot be kept: the {role} {text} does not say what it does; use a frozen dataclass")
    return text if hasattr(thing, "__qualname__") else described(thing)


def check_seeded(augment: Augment | None, batches: Batches) -> None:
    """Refuse an augmentation of a sample that depends on more than its key: on its neighbours, or on a random stream.

    Raises:
        UsageError: if some of the images, augmented in smaller batches, come out differently.
    """
    if augment is None:
        return
    images, index = (x[:16].cpu() for x in (batches.split.images, batches.split.index))
    for view in range(8):
        key = sample_keys(_view_seed(batches), view, index)
        together = augment(images, key).float()
        apart = torch.cat([augment(images[i : i + 5], key[i : i + 5]).float() for i in range(0, len(images), 5)])
        if together.shape != apart.shape or not torch.allclose(together, apart, atol=1e-3):
            raise UsageError(
                f"outputs cannot be kept: what {describe(augment, 'augmentation')} does to a sample depends on other "
                "samples or on a random stream; it must follow from the sample's key alone"
            )


def _view_seed(batches: Batches) -> int:
    return batches.seed if batches.view_seed is None else batches.view_seed


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-12:]}"
