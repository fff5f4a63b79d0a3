"""Frozen networks: teachers that cannot be trained, changed or put in training mode by accident."""

import contextlib
import copy
import functools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch._reading import at_least_single

M = TypeVar("M", bound=nn.Module)


def _stay_frozen(module: M, mode: bool = True) -> M:
    return module


def _forward_in_precision(network: Any, *args: Any, **options: Any) -> Any:
    device = next((parameter.device.type for parameter in network.parameters()), "cpu")
    with torch.autocast(device, network._precision):
        output = network._forward_as_built(*args, **options)
    return torch.utils._pytree.tree_map_only(torch.Tensor, at_least_single, output)


def freeze(
    network: M, *, statistics: Literal["running", "batch"] = "running", precision: torch.dtype | None = None
) -> M:
    """Make a network a teacher for good: evaluation mode, no gradients, and ``train()`` does nothing.

    Args:
        network: changed in place and returned.
        statistics: what batch normalisation uses: its ``"running"`` statistics, or those of the ``"batch"``
            (some methods ask for it); the running statistics are never updated.
        precision: what it computes in, ``torch.bfloat16`` say, whatever its students compute in: it runs under
            autocast. Its weights stay as they are, and what it says is widened to float32 again.

    Raises:
        UsageError: for TorchScript, whose ``train()`` is its own.
    """
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f" (its part {path!r})" if path else ""
            raise UsageError(f"TorchScript cannot be frozen{where}: freeze the network that it was made from")
    network.requires_grad_(False)
    for module in network.modules():  # each part by itself: a student may share it, or somebody may call its train()
        module.training = False
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            # training without tracking: batch statistics are used and the stored ones are left alone
            module.training, module.track_running_stats = statistics == "batch", statistics == "running"
        # no method: a pickled one would be looked for in the module's class
        module.train = functools.partial(_stay_frozen, module)
    _set_precision(network, precision)
    return network


def precision_of(network: nn.Module) -> torch.dtype | None:
    """The precision that a frozen network was given, if any."""
    return getattr(network, "_precision", None)


def _set_precision(network: Any, precision: torch.dtype | None) -> None:
    if precision_of(network) is not None:
        network.forward = network._forward_as_built
        del network._precision, network._forward_as_built
    if precision is not None:
        network._precision, network._forward_as_built = precision, network.forward
        network.forward = functools.partial(_forward_in_precision, network)


def thawed(network: M) -> M:
    """A copy of a frozen network, or of parts of one, that learns; the network itself stays frozen."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        _set_precision(module, None)
        module.__dict__.pop("train", None)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = module.running_mean is not None
    copied.train()
    return copied.requires_grad_(True)


def is_frozen(network: nn.Module) -> bool:
    """Whether :func:`freeze` was called on the network."""
    return getattr(network.train, "func", None) is _stay_frozen


@contextlib.contextmanager
def statistics_kept(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Batch normalisation in training mode uses the statistics of the batch, as always, but does not record them."""
    found = [
        module
        for network in networks
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats
    ]
    try:
        for module in found:
            module.track_running_stats = False
        yield
    finally:
        for module in found:
            module.track_running_stats = True
