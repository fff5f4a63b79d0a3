"""Networks as programs of torch.export and ONNX, which compute what the network does, or are not written."""

import contextlib
import dataclasses
import functools
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import zoo
from mentorch._errors import MentorchError, RunError, UsageError
from mentorch._files import write_atomic
from mentorch.zoo._card import to_json

TOLERANCE = 1e-4  # of the largest output
_COUNTS = (1, 3)  # images at a time

Answer = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class _Program:
    """A network, what it is fed for a trial, and what it says then.

    Attributes:
        network: in 32 bits.
        images: several batches of different size.
        expected: for each of them, outputs by name.
    """

    network: nn.Module
    images: tuple[Tensor, ...]
    expected: tuple[dict[str, Tensor], ...]

    @functools.cached_property
    def traced(self) -> torch.export.ExportedProgram:
        """By torch.export, for any number of images.

        Raises:
            RunError: if it cannot be traced.
        """
        count = ({0: torch.export.Dim("images", min=1)},)
        try:
            return torch.export.export(self.network, (self.images[-1],), dynamic_shapes=count, strict=False)
        except Exception as error:  # of many types, none of which is told
            raise RunError(f"{_kind(self.network)} cannot be traced by torch.export: {_first(error)}") from error

    def difference(self, answer: Answer) -> float:
        """The largest difference from the network, relative to the largest output.

        Raises:
            RunError: if it is more than rounding.
        """
        largest = 0.0
        for images, expected in zip(self.images, self.expected, strict=True):
            for found, (name, tensor) in zip(answer(images), expected.items(), strict=True):
                apart = float((found.detach() - tensor).abs().max() / tensor.abs().max().clamp_min(1e-12))
                if found.shape != tensor.shape or not apart <= TOLERANCE:
                    raise RunError(f"the program does not do what the network does: {name!r} is {apart:.1e} apart")
                largest = max(largest, apart)
        return largest


def _program(network: nn.Module, card: zoo.Card, prepare: bool) -> _Program:
    if card.input is None:
        raise UsageError(f"card {card.name!r} does not say what its network is fed: input")
    whole = (zoo.prepared(network, card) if prepare else network).float().eval()
    draw = torch.Generator().manual_seed(0)
    fed = torch.rand if prepare else torch.randn
    images = tuple(fed(n, card.input.channels, *card.input.size, generator=draw) for n in _COUNTS)
    with torch.no_grad():
        return _Program(whole, images, tuple(_named(whole(part)) for part in images))


def _named(outputs: Any) -> dict[str, Tensor]:
    found = outputs if isinstance(outputs, dict) else {"output": outputs}
    if not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UsageError(f"only tensors, and dictionaries of them, can be exported, not {type(outputs).__name__}")
    return found


def torch_program(network: nn.Module, card: zoo.Card, target: Path, prepare: bool) -> str:
    """Write a program of torch.export, compared before it is written: what reads it would unpickle.

    Returns:
        what it is, in one line.
    """
    program = _program(network, card, prepare)
    module = program.traced.module()
    apart = program.difference(lambda images: list(_named(module(images)).values()))

    def write(path: Path) -> None:
        with path.open("wb") as file:
            torch.export.save(program.traced, file, extra_files={"card.json": text(card, prepare)})

    write_atomic(target, write)
    return _told(card, program, prepare, apart)


def onnx_program(network: nn.Module, card: zoo.Card, target: Path, prepare: bool) -> str:
    """Write a program of ONNX, compared as ONNX Runtime reads it from the file.

    Returns:
        what it is, in one line.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch converts with it
    except ImportError as error:
        raise UsageError("export to .onnx needs onnxscript and onnxruntime: pip install 'mentorch[onnx]'") from error
    program = _program(network, card, prepare)
    names = list(program.expected[0])
    with _quiet():
        try:
            made = torch.onnx.export(
                program.traced, dynamo=True, verbose=False, input_names=["images"], output_names=names
            )
        except MentorchError:
            raise
        except Exception as error:
            raise RunError(f"{_kind(program.network)} cannot be converted to ONNX: {_first(error)}") from error
    assert made is not None
    made.model.metadata_props["card"] = text(card, prepare)
    apart = 0.0

    def write(path: Path) -> None:
        nonlocal apart
        made.save(path, external_data=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        apart = program.difference(
            lambda images: [torch.from_numpy(part) for part in session.run(names, {"images": images.numpy()})]
        )

    write_atomic(target, write)
    return _told(card, program, prepare, apart)


def _told(card: zoo.Card, program: _Program, prepare: bool, apart: float) -> str:
    fed = "images in [0, 1]" if prepare else "images normalised as its card says"
    size = ", ".join(map(str, program.images[0].shape[1:]))
    outputs = ", ".join(f"{name} [N, {', '.join(map(str, t.shape[1:]))}]" for name, t in program.expected[0].items())
    return f"{card.name}: {fed} [N, {size}] -> {outputs}; at most {apart:.0e} of these apart from the network's"


def _first(error: Exception) -> str:
    """These errors go on for pages."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _kind(network: nn.Module) -> str:
    return type(network).__name__


def text(card: zoo.Card, prepare: bool = False) -> str:
    """A card as files of others carry it; of a program that prepares its images, with what that is fed."""
    if prepare and card.input is not None:
        order = "gray" if card.input.channels == 1 else "rgb"
        zeros, ones = (tuple(float(value) for _ in card.input.mean) for value in (0, 1))
        fed = zoo.Input(card.input.channels, card.input.size, zeros, ones, order, resize=card.input.resize)
        card = dataclasses.replace(card, input=fed)
    return json.dumps(to_json(card))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What torch warns of while it converts is about itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
