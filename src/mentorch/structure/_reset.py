"""Forget the reset part."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.structure._slim import check_network
from mentorch.structure._split import Split, hash_seed

# name, weight, generator -> new values of the shape of the weight
Law = Callable[[str, Tensor, torch.Generator], Tensor]


def uniform(name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in +-1/sqrt(fan_in), with the fan-in of the whole network: variance 1 / (3 fan_in).

    The law of the code released with Taha et al., arXiv:2103.05152: Kaiming-uniform with a = sqrt(5), which is also how
    torch first draws convolutions and linear layers.
    """
    bound = 1 / math.sqrt(weight[0].numel())
    return torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)


def zero(name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
    """Nothing: what is left computes what the smaller network computes."""
    return torch.zeros(weight.shape)


@torch.no_grad()
def reset(
    network: nn.Module,
    split: Split,
    *,
    law: Law = uniform,
    seed: int = 0,
    bias: bool = False,
    norm: Literal["keep", "affine", "statistics", "both"] = "keep",
) -> None:
    """Draw the reset part of ``network`` anew, in place; the fit part keeps its bits.

    As published, only weights of convolutions and linear layers are drawn: biases and batch norms stay.

    Args:
        network: the one whose plan was split.
        split: what to keep.
        law: how weights are drawn: `uniform`, `zero`, or a function of name, weight and generator. Values of a
            fresh network: `lambda name, weight, generator: fresh.get_parameter(name)`.
        seed: of the draw, another one for every generation; each tensor has its own stream.
        bias: also set the biases of layers in the reset part to zero.
        norm: also set batch norms in the reset part to where they began: scale 1 and shift 0 (`affine`), mean 0 and
            variance 1 (`statistics`), or `both`. In a split by weights, channels of which a layer forgets any weight
            are in the reset part.

    Raises:
        UsageError: if the split is of another network, or an option does not exist.
    """
    check_network(network, split.plan)
    if norm not in ("keep", "affine", "statistics", "both"):
        raise UsageError(f"norm must be 'keep', 'affine', 'statistics' or 'both', not {norm!r}")
    forgotten = _forgotten(network, split)
    for name in split.plan.layers:
        weight = network.get_parameter(name)
        generator = torch.Generator().manual_seed(hash_seed(seed, name))
        _overwrite(weight, law(name, weight, generator), split.mask(name))
        offset = f"{name.removesuffix('weight')}bias"
        if bias and offset in split.plan.shapes:
            made = (offset, 0) in split.plan.axes  # else of attention, whose channels all stay
            kept = _kept_channels(split, offset, forgotten) if made else split.mask(name).flatten(1).all(1)
            _overwrite(network.get_parameter(offset), torch.zeros(()), kept)
    start = {"weight": 1.0, "bias": 0.0} if norm in ("affine", "both") else {}
    start |= {"running_mean": 0.0, "running_var": 1.0} if norm in ("statistics", "both") else {}
    for path, module in network.named_modules():
        for own, value in start.items() if isinstance(module, nn.modules.batchnorm._BatchNorm) else ():
            if (tensor := getattr(module, own)) is not None:
                name = f"{path}.{own}" if path else own
                _overwrite(tensor, torch.tensor(value), _kept_channels(split, name, forgotten))


def _forgotten(network: nn.Module, split: Split) -> set[int]:
    """Channels that a layer makes with weights of which some are forgotten; only for splits by weights."""
    channels: set[int] = set()
    for name in () if split.by_channels else split.plan.layers:
        module = network.get_submodule(name.rpartition(".")[0])
        dim = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
        if (name, dim) in split.plan.axes:
            kept = split.mask(name).movedim(dim, 0).flatten(1).all(1)
            axis = split.plan.axes[name, dim].channels
            channels |= {channel for channel, whole in zip(axis, kept.tolist(), strict=True) if not whole}
    return channels


def _kept_channels(split: Split, name: str, forgotten: set[int]) -> Tensor:
    """Where the vector ``name``, of one number per channel, belongs to the fit part."""
    if split.by_channels:
        return split.mask(name)
    return torch.tensor([channel not in forgotten for channel in split.plan.axes[name, 0].channels])


def _overwrite(tensor: Tensor, values: Tensor, keep: Tensor) -> None:
    keep = keep.to(tensor.device)
    tensor.copy_(torch.where(keep, tensor, values.to(tensor)))
