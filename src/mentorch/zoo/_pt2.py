"""Programs of `torch.export`, read as data: nothing is unpickled, evaluated or imported."""

import dataclasses
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import MentorchError, RunError, UsageError
from mentorch.networks import build
from mentorch.zoo._card import Card, from_json
from mentorch.zoo._program import DTYPES, program_of

_DAMAGED = (OSError, KeyError, IndexError, TypeError, ValueError, RuntimeError, zipfile.BadZipFile)


def from_pt2(path: str | Path) -> tuple[nn.Module, Card]:
    """A network that `torch.export.save` wrote, and its card, which holds the program.

    `torch.export.load` unpickles and evaluates parts of such a file. Here the graph is read as JSON, weights as raw
    numbers, and example inputs not at all; what could only be had by unpickling is an error. Each call that the output
    needs becomes a module, at the address of the module that made it (``fc``), or below it where that made several
    (``layer1.0.add``). What a card in the file says, as `mentorch export` puts it there, its card says as well.

    Args:
        path: of one network from images to logits, exported in evaluation mode.

    Raises:
        UsageError: if it is another kind of network, in another precision than float32, or keeps something pickled
            that is needed.
        RunError: if the file cannot be read.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            root, model, content = _graph(archive)
            tensors = _tensors(archive, root, model)
            carried = _carried(archive, f"{root}extra/card.json", path.stem)
        program = program_of(content, tensors)
        arguments = {"num_classes": program["classes"], "in_channels": program["reads"][0]}
        network = build("exported", **arguments, options={"program": program})
        network.load_state_dict({address: tensors[address] for address, *_ in program["tensors"].values()})
        _check_batches(network.eval(), program["reads"])
    except MentorchError as error:
        raise type(error)(f"{path}: {error}") from error
    except _DAMAGED as error:
        raise RunError(
            f"{path} is no file of torch.export, or a damaged one: {type(error).__name__} {error}"
        ) from error
    arguments |= {"image_size": program["reads"][1:], "program": program}
    return network, dataclasses.replace(
        carried, network="exported", arguments=arguments, structure=(), taps=None, hash=None
    )


def _carried(archive: zipfile.ZipFile, place: str, name: str) -> Card:
    """The card that the file carries, or one that knows nothing but a name."""
    return from_json(json.loads(archive.read(place))) if place in archive.namelist() else Card(name, "exported")


def _graph(archive: zipfile.ZipFile) -> tuple[str, str, Mapping[str, Any]]:
    """The folder in the archive, the name of the only program in it, and the program."""
    found = [match for name in archive.namelist() if (match := re.fullmatch(r"([^/]+/)models/([^/]+)\.json", name))]
    if len(found) != 1:
        raise UsageError(f"it holds {len(found)} programs in the form of today's PyTorch, not one: export it again")
    return found[0][1], found[0][2], json.loads(archive.read(found[0][0]))


def _tensors(archive: zipfile.ZipFile, root: str, model: str) -> dict[str, Tensor]:
    """Weights and constants by their addresses, from raw numbers."""
    tensors: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        folder = f"{root}data/{kind}/"
        if (facts := f"{folder}{model}_{kind}_config.json") not in archive.namelist():
            raise UsageError(f"its {kind} are pickled, and nothing is unpickled here: export it with a newer PyTorch")
        for address, entry in json.loads(archive.read(facts))["config"].items():
            if entry["use_pickle"]:
                raise UsageError(f"{address!r} is pickled, and nothing is unpickled here: export plain tensors")
            tensors[address] = _tensor(archive.read(folder + entry["path_name"]), entry["tensor_meta"])
    return tensors


def _tensor(data: bytes, facts: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, DTYPES[facts["dtype"]])
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    sizes, strides = ([each["as_int"] for each in facts[name]] for name in ("sizes", "strides"))
    return flat.as_strided(sizes, strides, facts["storage_offset"]["as_int"]).clone()


def _check_batches(network: nn.Module, reads: Sequence[int]) -> None:
    """Raise unless it serves batches of any size, image by image."""
    images = torch.rand(3, *reads, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            three, one = network(images), network(images[:1])
        fits = len(three) == 3 and len(one) == 1
    except RuntimeError:
        fits = False
    if not fits:
        raise UsageError(
            "it was exported for batches of one size: name dynamic_shapes, such as ({0: torch.export.Dim('batch')},)"
        )
    if not torch.allclose(three[:1], one, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise UsageError("what it makes of an image depends on the batch: export network.eval()")
