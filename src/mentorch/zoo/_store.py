"""Networks in folders: `card.json` and `model.safetensors`. Nothing in them is executed."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch._files import read_json, write_atomic, write_json
from mentorch.networks import hash_tensors, read_safetensors, state_hash
from mentorch.zoo._card import Card, Scalar, from_json, to_json
from mentorch.zoo._rebuild import check_description, check_fit, rebuild

CARD = "card.json"
WEIGHTS = "model.safetensors"


def save(network: nn.Module, folder: str | Path, card: Card) -> Card:
    """Write ``network`` and its ``card`` to ``folder``; return the card with the hash filled in.

    A network of ours is first rebuilt from the card without weights, so that a card that does not describe it is
    found now and not when somebody loads it. Each file is written atomically, the card last.

    Raises:
        UsageError: if the card describes another network, or holds something that JSON cannot.
        RunError: if the folder cannot be written.
    """
    folder = Path(folder)
    card = dataclasses.replace(card, hash=state_hash(network))
    # copies: safetensors refuses tensors that share memory, such as tied weights
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    check_description(card, tensors)
    _check_json(card)

    def write(path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            save_file(tensors, path)
        except SafetensorError as error:
            # its Rust half reports a full disk or a lost folder with this too
            raise OSError(str(error)) from error

    write_atomic(folder / WEIGHTS, write)
    write_json(folder / CARD, to_json(card))
    return card


def read(folder: str | Path) -> Card:
    """The card in ``folder``; the weights are not touched.

    Raises:
        UsageError: if the folder holds no card.
        RunError: if the card is damaged, or holds unknown or missing fields.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise UsageError(f"{folder} is not a stored network: it has no {CARD}")
    try:
        card = from_json(read_json(path))
    except ValueError as error:
        raise RunError(f"{path} is not a card: {error}") from error
    if card.hash is None:
        raise RunError(f"{path} is not a card: hash: it has none, so its weights cannot be verified")
    return card


def load(folder: str | Path, *, trust: bool = False) -> tuple[nn.Module, Card]:
    """The network in ``folder``, in evaluation mode on the CPU, and its card; the random state is left alone.

    Args:
        folder: what `save` wrote.
        trust: allow a card whose network is `package.module:callable`, which imports that package.

    Raises:
        UsageError: if the folder holds no card, or needs ``trust``.
        RunError: if card or weights are missing, damaged, or do not belong together.
    """
    folder = Path(folder)
    card = read(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise RunError(f"{folder} has a card but no {WEIGHTS}")
    tensors = read_safetensors(path)
    if (found := hash_tensors(tensors)) != card.hash:
        raise RunError(f"{path} is not what its card says: hash {found[:12]}, expected {str(card.hash)[:12]}")
    network = rebuild(card, trust=trust)
    check_fit(network, tensors, path)
    for name, own in network.state_dict(keep_vars=True).items():
        # in place, so that tied weights stay tied; a network saved in half precision comes back in it
        own.data = own.data.to(tensors[name].dtype)
    network.load_state_dict(tensors)
    if card.taps is not None:
        vars(network).setdefault("taps", card.taps)
    return network.eval(), card


def tag(folder: str | Path, tags: Mapping[str, Scalar]) -> Card:
    """Add ``tags`` to the card in ``folder``, replacing those of the same name, and return it.

    Raises:
        UsageError: if the folder holds no card, or a tag is not a scalar.
        RunError: if the card is damaged or cannot be written.
    """
    card = read(folder)
    card = dataclasses.replace(card, tags={**card.tags, **tags})
    _check_json(card)
    write_json(Path(folder) / CARD, to_json(card))
    return card


def _check_json(card: Card) -> None:
    """Raise unless the card comes back from JSON as it went."""
    try:
        from_json(json.loads(json.dumps(to_json(card), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"card {card.name!r} cannot be written: {error}") from error
