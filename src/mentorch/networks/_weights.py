"""Weights from files of other people, without running their code."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError

_PICKLES = (".pt", ".pth", ".th", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")
# names in other projects -> ours; applied to keys that the network does not have
_RENAMES = (
    (re.compile(r"^(linear|classifier)\.(weight|bias)$"), r"fc.\2"),
    (re.compile(r"^(?:block|layer)(\d+)\.layer\."), r"layer\1."),
    (re.compile(r"\.(convShortcut|downsample)\."), ".shortcut."),
)


def load_weights(network: nn.Module, path: str | Path, *, new_head: bool = False) -> nn.Module:
    """Fill ``network`` with the weights in ``path`` and return it; on any error the network is as before.

    Reads `.safetensors`, and `.pt`, `.pth`, `.th`, `.bin` or `.ckpt` as long as they hold tensors only. Unwraps
    `{"state_dict": ...}` (also `model_state_dict`, `model`, `net`) and drops the prefixes `module.` and `_orig_mod.`.
    Keys that the network does not know are tried under our names: `linear` and `classifier` are `fc`,
    `layer1.layer.0` and `block1.layer.0` are `layer1.0`, `convShortcut` and `downsample` are `shortcut`. Missing
    `num_batches_tracked` keep their value. Everything else must fit exactly.

    Args:
        network: whose tensors are replaced, in place.
        path: of the file.
        new_head: if only the number of classes differs, the last linear layer keeps its own weights: what was learned
            for other classes is where the network begins.

    Raises:
        UsageError: if the file does not exist, is of another kind, or holds weights of another network.
        RunError: if the file is damaged, holds no weights, or needs code to load.
    """
    path = Path(path)
    own = network.state_dict()
    state = _renamed(_plain(_read(path), path), own, path)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)
    if new_head and (head := _other_classes(network, state, own)):
        state |= {name: own[name] for name in own if name.rpartition(".")[0] == head}
    _check(network, state, own, path)
    network.load_state_dict(state)
    return network


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"weights {path} do not exist")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix not in _PICKLES:
        raise UsageError(f"weights {path} are neither .safetensors nor {', '.join(_PICKLES)}")
    try:
        with path.open("rb") as file:
            if not file.read(2).startswith((b"PK", b"\x80")):
                raise ValueError("neither a zip file nor a pickle")  # torch takes minutes to say so of long texts
        with warnings.catch_warnings():
            # "please file an issue" about other pickle protocols: it loads or it does not
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported" in str(error).lower():
            raise RunError(f"{path} needs code to load; convert it to safetensors") from error
        raise RunError(f"{path} is damaged or truncated") from error
    except Exception as error:  # whatever torch trips over in a file of other people
        raise RunError(f"{path} is damaged or truncated") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, on the CPU.

    Raises:
        RunError: if the file cannot be read, is damaged or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged or truncated: {error}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return tensors


def _plain(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, without wrappers and without prefixes that all names share."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise RunError(f"{path} holds no weights: expected tensors by name, or such a mapping under 'state_dict'")
    state = {str(name): tensor for name, tensor in content.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _renamed(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = name
        for pattern, replacement in _RENAMES:
            ours = ours if ours in own else pattern.sub(replacement, ours)
        if ours in result:
            raise UsageError(f"{path} holds {ours!r} twice, under different names")
        result[ours] = tensor
    return result


def _check(network: nn.Module, state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless ``state`` has exactly the names and shapes of ``own``."""
    kind = type(network).__name__
    missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
    if missing or unexpected:
        faults = [f"lacks {_first(missing)}"] * bool(missing) + [f"has unknown {_first(unexpected)}"] * bool(unexpected)
        raise UsageError(f"{path} does not fit {kind}: it {' and '.join(faults)}")
    wrong = [name for name in own if own[name].shape != state[name].shape]
    if not wrong:
        return
    if head := _other_classes(network, state, own):
        theirs, ours = (len(tensors[f"{head}.weight"]) for tensors in (state, own))
        raise UsageError(f"{path} knows {theirs} classes, the network {ours}: use num_classes={theirs}")
    shapes = f"{wrong[0]!r} is {list(state[wrong[0]].shape)} instead of {list(own[wrong[0]].shape)}"
    raise UsageError(f"{path} does not fit {kind}: {shapes}" + f" (and {len(wrong) - 1} more)" * (len(wrong) > 1))


def _other_classes(network: nn.Module, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The last linear layer, if nothing but its number of classes differs; else nothing."""
    head = next((name for name, module in reversed([*network.named_modules()]) if isinstance(module, nn.Linear)), "")
    wrong = {name for name in own if name in state and own[name].shape != state[name].shape}
    alike = wrong == {name for name in own if name.rpartition(".")[0] == head}
    return head if wrong and alike and state[f"{head}.weight"].shape[1:] == own[f"{head}.weight"].shape[1:] else ""


def _first(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(repr(name) for name in shown) + f" and {len(names) - 3} more" * (len(names) > 3)
