"""What a finished run was made with, so that only the same comparison goes on with it."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mentorch._errors import RunError, UsageError
from mentorch._files import read_json, read_sealed
from mentorch._graph import Graph
from mentorch.training import History
from mentorch.training._describe import described
from mentorch.training._identity import _edge, _state, check_same, hashes_of_frozen

OPTIONS = "options"
# options of fit on which no number depends: where things are, what is shown, and how much memory and time is used
_HARMLESS = frozenset(
    (
        "cache",
        "callbacks",
        "channels_last",
        "checkpoint_every",
        "checkpoint_seconds",
        "compile",
        "device",
        "diagnose",
        "fabric",
        "log_every",
        "progress",
        "tensorboard",
    )
)


def options_of(graph: Graph, fit: Callable[..., History], **options: Any) -> dict[str, Any]:
    """A run as plain data, as far as it can be known before it is trained.

    Args:
        graph: fresh from its method.
        fit: what is bound to it counts.
        options: of the comparison, that the row depends on.
    """
    bound = fit.keywords if isinstance(fit, functools.partial) else {}
    return {
        "nodes": {name: _size(graph.nodes[name]) for name in graph.learning},
        "frozen": hashes_of_frozen(graph, all_of_it=False),
        "edges": [_edge(edge) for edge in graph.edges],
        "views": {name: _seen(view) for name, view in graph.views.items()},
        "fit": {name: _plain(value) for name, value in sorted(bound.items()) if name not in _HARMLESS},
        **{name: _plain(value) for name, value in options.items()},
    }


def check_results(path: Path, resume: bool, name: str, fingerprint: str) -> None:
    """Refuse a folder whose results are not those of a comparison that goes on.

    Raises:
        UsageError: if nobody wants to go on, or the results are of other data.
        RunError: if they are damaged.
    """
    if not path.exists():
        return
    if not resume:
        raise UsageError(f"{path.parent} already holds results: choose another folder, or resume to keep finished runs")
    before = read_json(path)
    if not isinstance(before, dict) or not isinstance(before.get("data", {}), dict):
        raise RunError(f"{path} is damaged: delete it, finished runs are kept without it")
    if before.get("data", {}).get("fingerprint", fingerprint) != fingerprint:
        raise UsageError(f"{path.parent} holds results on other data than this {name!r}: choose another folder")


def finished(path: Path) -> dict[str, Any] | None:
    """The row in a file, if there is one that did not fail.

    Raises:
        RunError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        row: dict[str, Any] = read_sealed(path)
    except RunError as error:
        raise RunError(f"{error}; delete it, and this part is trained again") from error
    return None if "error" in row else row


def check_options(path: Path, row: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse to keep a row that was made in another way.

    Raises:
        RunError: naming what differs.
    """
    if OPTIONS not in row:
        raise RunError(f"{path} does not say how it was trained: delete it, and this part is trained again")
    check_same(row[OPTIONS], options, str(path.parent))


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network, as far as it is tensors."""
    return {name: value for name, value in network.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


def _size(network: nn.Module) -> dict[str, Any]:
    """How many weights, and how they are laid out; those that the first batch makes are not known yet."""
    shapes = {name: tuple(t.shape) for name, t in tensors(network).items() if not is_lazy(t)}
    count = sum(parameter.numel() for parameter in network.parameters() if not is_lazy(parameter))
    return {"parameters": count, "shapes": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]}


def _seen(view: Any) -> str:
    return described(view) + _state(view)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | None) else _seen(value)
