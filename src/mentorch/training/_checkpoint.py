"""Checkpoints: tensors as safetensors, the rest as JSON, whole or not there, nothing ever unpickled."""

import contextlib
import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch._files import seal, unseal

SCHEMA = "mentorch.checkpoint/2"
KEEP = 2


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Nested plain data with the tensors taken out: JSON that refers to ``tensors`` by path.

    Raises:
        TypeError: for anything that is neither plain data nor a tensor.
    """
    if isinstance(value, Tensor):
        name = f"{len(tensors)}{path}"  # the number keeps paths apart that read alike: {"a/b": x} and {"a": {"b": x}}
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(value, Counter):  # torch schedulers keep one and use its methods
        return {"$counter": pack(dict(value), tensors, path)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, bool | int | float | str | None):
                raise TypeError(f"cannot put a key {key!r} into a checkpoint (at {path})")
        return {"$map": [[key, pack(item, tensors, f"{path}/{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot put a {type(value).__name__} into a checkpoint (at {path})")


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`pack`."""
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$counter" in value:
            return Counter(unpack(value["$counter"], tensors))
        if "$tuple" in value:
            return tuple(unpack(item, tensors) for item in value["$tuple"])
        return {key: unpack(item, tensors) for key, item in value["$map"]}
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    return value


def save(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step beside the earlier ones, then drop all but the last two.

    Raises:
        RunError: if it cannot be written (a full disk, say); earlier checkpoints are untouched.
    """
    from safetensors.torch import save as to_bytes

    tensors: dict[str, Tensor] = {}
    packed = pack(state, tensors)
    data = to_bytes(tensors)
    head = {"schema": SCHEMA, "step": step, "tensors": hashlib.sha256(data).hexdigest(), "state": packed}
    final = folder / f"{step:09d}"
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        _write(temporary / "tensors.safetensors", data)
        _write(temporary / "state.json", seal(head).encode())
        if final.exists():
            final.rename(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        temporary.rename(final)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        have = steps(folder)
        kept = f"the checkpoint of step {have[-1]} is intact" if have else "there is no earlier checkpoint"
        raise RunError(f"cannot write a checkpoint to {folder}: {error.strerror or error}; {kept}") from error
    tidy(folder)
    return final


def tidy(folder: Path) -> None:
    """Drop all but the last two checkpoints, and what writers that were killed left."""
    for old in steps(folder)[:-KEEP]:
        shutil.rmtree(folder / f"{old:09d}", ignore_errors=True)
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, oldest first."""
    return sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()) if folder.is_dir() else []


def load(folder: Path, which: Literal["last", "previous"] = "last") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        RunError: if it is damaged or foreign; the message says which other one there is.
        UsageError: if there is no such checkpoint.
    """
    have = steps(folder)
    if len(have) < (2 if which == "previous" else 1):
        raise UsageError(f"there is no {which} checkpoint in {folder}")
    step = have[-1] if which == "last" else have[-2]
    path = folder / f"{step:09d}"
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        other = have[-2] if which == "last" and len(have) > 1 else None
        advice = (
            f"the previous one is step {other}: delete the damaged folder, or resume='previous', to use it"
            if other is not None
            else "no other is left"
        )
        raise RunError(f"checkpoint {path} is damaged ({error}); {advice}") from error


def _read(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    head = unseal((path / "state.json").read_text(encoding="utf-8"))
    if head.get("schema") != SCHEMA:
        raise ValueError(f"state.json is not {SCHEMA}")
    data = (path / "tensors.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != head["tensors"]:
        raise ValueError("tensors.safetensors does not have the recorded SHA-256")
    try:
        state = unpack(head["state"], from_bytes(data))
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if not isinstance(state, dict):
        raise ValueError("state.json holds no state")
    return state


def random_state(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """The state of every generator that training may draw from.

    These are torch's on all devices, Python's, NumPy's if it is in use, and the ``generators`` that data loaders own.
    """
    version, numbers, gauss = random.getstate()
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": (version, numbers, gauss)}
    state["own"] = [generator.get_state() for generator in generators]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    if "numpy" in sys.modules:
        import numpy as np

        name, keys, position, has_gauss, cached = cast(Any, np.random.get_state())
        state["numpy"] = (
            str(name),
            torch.from_numpy(keys.astype("int64")),
            int(position),
            int(has_gauss),
            float(cached),
        )
    return state


def set_random_state(state: Mapping[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Put all generators back to :func:`random_state`."""
    torch.set_rng_state(state["torch"])
    for generator, own in zip(generators, state["own"], strict=True):
        generator.set_state(own)
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "numpy" in state:
        import numpy as np

        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype("uint32"), *rest))


@contextlib.contextmanager
def undisturbed(generators: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Whatever happens inside draws nothing from the random streams of training."""
    state = random_state(generators)
    try:
        yield
    finally:
        set_random_state(state, generators)
