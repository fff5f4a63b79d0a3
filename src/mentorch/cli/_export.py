"""``mentorch export``: a network in files that others read."""

from pathlib import Path

import typer
from torch import nn

from mentorch import networks, zoo
from mentorch._errors import RunError, UsageError
from mentorch._files import write_atomic
from mentorch.cli import _export_program
from mentorch.cli._terminal import say
from mentorch.cli._zoo import kept_in


def run(source: Path, target: Path, *, prepare: bool, trust: bool) -> None:
    """Write a stored network to a file or folder that is not there yet.

    Raises:
        UsageError: if the source is not one network, or the target exists or has another suffix.
        RunError: if it cannot be converted or written, or computes something else then.
    """
    if target.suffix not in _WRITERS:
        known = ", ".join(filter(None, _WRITERS))
        raise UsageError(f"cannot export to {target}: known are {known}, or a folder, whose name has no suffix")
    if prepare and target.suffix not in _PROGRAMS:
        raise UsageError(f"--prepare is for {' and '.join(_PROGRAMS)}: weights have no place for what comes before")
    if target.exists():
        raise UsageError(f"{target} exists: choose another name")
    if not source.is_dir():
        raise UsageError(f"{source} is no folder: name that of a network, or of a run that keeps one")
    folders = kept_in(source)
    if len(folders) > 1:
        raise UsageError(f"{source} keeps {len(folders)} networks, name one: {', '.join(map(str, folders))}")
    network, card = zoo.load(folders[0], trust=trust)
    say(_WRITERS[target.suffix](network, card, target, prepare))
    typer.echo(target)


def _folder(network: nn.Module, card: zoo.Card, target: Path, _: bool) -> str:
    zoo.save(network, target, card)
    zoo.load(target, trust=True)  # it was built from this card a moment ago
    return f"{card.name}: weights and card, read back"


def _weights(network: nn.Module, card: zoo.Card, target: Path, _: bool) -> str:
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}

    def write(path: Path) -> None:
        save_file(tensors, path, metadata={"card": _export_program.text(card)})
        if networks.hash_tensors(networks.read_safetensors(path)) != card.hash:
            raise RunError(f"{target} was not read back as it was written")

    write_atomic(target, write)
    return f"{card.name}: weights, read back; the card is in the metadata"


_PROGRAMS = {".pt2": _export_program.torch_program, ".onnx": _export_program.onnx_program}
_WRITERS = {"": _folder, ".safetensors": _weights, **_PROGRAMS}
