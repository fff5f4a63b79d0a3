"""From what a card says to a network without its weights."""

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.networks import build
from mentorch.structure import resize
from mentorch.zoo._card import Card


def check_description(card: Card, tensors: Mapping[str, Tensor]) -> None:
    """Raise if a network of ours that the card describes has other tensors than those to be saved.

    Raises:
        UsageError: naming the first difference.
    """
    if ":" in card.network:
        return
    try:
        with torch.device("meta"):
            network = rebuild(card, trust=False)
        check_fit(network, tensors, Path("its state"))
    except RunError as error:
        raise UsageError(f"card {card.name!r} describes another network: {error}") from error


def check_fit(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless ``tensors`` have the names and shapes of the network's state.

    Raises:
        RunError: naming ``path`` and the first difference.
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if differing := sorted(name for name, _ in own.items() ^ stored.items()):
        name = differing[0]
        raise RunError(
            f"{path} does not fit {type(network).__name__}: {name!r} has shape {stored.get(name, 'none')}, "
            f"expected {own.get(name, 'none')}"
        )


def rebuild(card: Card, *, trust: bool) -> nn.Module:
    """The network that the card describes, with whatever weights; the random state is left alone.

    Raises:
        UsageError: if its name or arguments are wrong, or it imports a package and ``trust`` is false.
        RunError: if its structure is damaged, or that of another network.
    """
    kind, separator, _ = card.network.partition(":")
    if separator and kind not in ("timm", "hf") and not trust:
        raise UsageError(f"card {card.name!r} imports {card.network!r}: pass trust=True if you trust that package")
    # its weights are here: pre-trained ones would only be overwritten
    options = {name: value for name, value in card.arguments.items() if name != "pretrained"}
    if "num_classes" not in options:
        raise UsageError(f"card {card.name!r} does not say how many classes its network has: arguments.num_classes")
    size = options.pop("image_size", None)
    with torch.random.fork_rng(devices=[]):
        network = build(
            card.network,
            num_classes=options.pop("num_classes"),
            in_channels=options.pop("in_channels", 3),
            image_size=tuple(size) if isinstance(size, list) else size,
            options=options,
        )
        return functools.reduce(resize, card.structure, network)
