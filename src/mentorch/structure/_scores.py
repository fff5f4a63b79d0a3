"""How much a channel matters."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError, unknown
from mentorch.structure._slim import check_network
from mentorch.structure._spaces import Place, Plan

Importance = Literal["l1", "l2", "bn", "taylor", "random"]


def scores(network: nn.Module, plan: Plan, by: Importance = "l1", *, seed: int = 0) -> Tensor:
    """How important each channel of ``plan`` is; larger is more important, 1 the mean of its space.

    A channel is scored in every tensor that makes or reads it; each tensor's scores are divided by their mean over the
    space, and averaged over the tensors.

    Args:
        network: with the weights to judge.
        plan: of the network.
        by: `l1` or `l2`: sum of the absolute values, or of the squares, of its slice of each weight; `bn`: absolute
            scale of its batch norms (Liu et al., Network Slimming, ICCV 2017, arXiv:1708.06519); `taylor`: |sum of
            gradient times weight| of its slice (Molchanov et al., CVPR 2019, arXiv:1906.10771), with the gradients that
            the parameters hold; `random`: uniform, for control.
        seed: of `random`.

    Returns:
        One score per channel, in the order of the plan, float64 on the CPU.

    Raises:
        UsageError: if the plan is of another network, a space has no batch norm, or a weight has no gradient.
    """
    check_network(network, plan)
    total = sum(space.size for space in plan.spaces)
    if by == "random":
        return torch.rand(total, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if by not in _LOCAL and by != "bn":
        raise unknown("importance", by, [*_LOCAL, "bn", "random"])
    names = _batch_norms(network) if by == "bn" else list(plan.layers)
    values, counts = torch.zeros(total, dtype=torch.float64), torch.zeros(total, dtype=torch.float64)
    space_of = torch.tensor(plan.space_of)
    for name in names:
        weight = network.get_parameter(name)
        local = weight.detach().abs() if by == "bn" else _LOCAL[by](name, weight)
        for place in ((name, 0), (name, 1)):
            if place in plan.axes:
                own, present = _channel_scores(plan, place, local.double().cpu(), total)
                means = _space_means(own, present, space_of, len(plan.spaces))
                values += torch.where(present, own.abs() / means[space_of].clamp_min(1e-300), 0.0)
                counts += present
    if (missing := counts == 0).any() and by == "bn":
        spaces = {plan.spaces[i].name for i in space_of[missing].tolist() if not plan.spaces[i].pinned}
        if spaces:
            raise UsageError(f"channels of {min(spaces)!r} pass no batch norm: score them by 'l1', 'l2' or 'taylor'")
    return values / counts.clamp_min(1)


def _gradient_times_weight(name: str, weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise UsageError(f"{name!r} has no gradient: call backward() on the loss of some samples before 'taylor'")
    return weight.grad.detach() * weight.detach()


_LOCAL: dict[str, Callable[[str, Tensor], Tensor]] = {
    "l1": lambda _, weight: weight.detach().abs(),
    "l2": lambda _, weight: weight.detach().square(),
    "taylor": _gradient_times_weight,
}


def _channel_scores(plan: Plan, place: Place, local: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Sums of ``local`` over the slices of each channel, and which channels have any."""
    axis, dim = plan.axes[place], place[1]
    if dim:  # groups read columns of their own
        local = local.view(axis.groups, -1, *local.shape[1:]).movedim(2, 1).flatten(0, 1)
    sums = local.reshape(len(local), -1).sum(1)
    channels = torch.tensor(axis.channels)
    own = torch.zeros(total, dtype=torch.float64).index_add_(0, channels, sums)
    return own, torch.zeros(total, dtype=torch.bool).index_fill_(0, channels, True)


def _space_means(own: Tensor, present: Tensor, space_of: Tensor, spaces: int) -> Tensor:
    sums = torch.zeros(spaces, dtype=torch.float64).index_add_(0, space_of, own.abs())
    return sums / torch.zeros(spaces, dtype=torch.float64).index_add_(0, space_of, present.double()).clamp_min(1)


def _batch_norms(network: nn.Module) -> list[str]:
    modules = [(f"{path}." if path else "", module) for path, module in network.named_modules()]
    norms = [(path, module) for path, module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [f"{path}weight" for path, module in norms if module.weight is not None]
