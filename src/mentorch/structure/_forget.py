"""What else to forget: splits by weights for forget-and-relearn."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.structure._spaces import Plan
from mentorch.structure._split import Rate, Split, pack, read_rate


def split_by(plan: Plan, keep: Callable[[str], Tensor]) -> Split:
    """A split by weights of your own: ``keep(name)`` is true where a weight of layer ``name`` is in the fit part.

    Forget-and-relearn variants (Zhou et al., ICLR 2022, arXiv:2202.00155) are splits of this kind.

    Raises:
        UsageError: if a mask has another shape than its weight.

    >>> from mentorch.structure import plan
    >>> p = plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
    >>> int(split_by(p, lambda name: torch.eye(2, 4) > 0).mask("weight").sum())
    2
    """
    masks = {name: torch.as_tensor(keep(name)).bool().cpu() for name in plan.layers}
    for name, mask in masks.items():
        if tuple(mask.shape) != plan.shapes[name]:
            raise UsageError(f"the mask of {name!r} has shape {tuple(mask.shape)}, its weight {plan.shapes[name]}")
    return Split(plan, None, masks={name: pack(mask) for name, mask in masks.items()})


def later_layers(plan: Plan, count: int) -> Split:
    """Keep all but the last ``count`` convolutions and linear layers (later-layer forgetting, arXiv:2202.00155).

    Raises:
        UsageError: unless at least one layer is forgotten, and one is kept.
    """
    if not 0 < count < len(plan.layers):
        raise UsageError(f"forget between 1 and {len(plan.layers) - 1} of {len(plan.layers)} layers, not {count}")
    kept = list(plan.layers)[:-count]
    return split_by(plan, lambda name: torch.full(plan.shapes[name], name in kept))


def larger_weights(network: nn.Module, plan: Plan, keep: Rate) -> Split:
    """Keep the ``keep`` of each layer's weights that are largest in absolute value, an exact number of them."""
    rate = read_rate(keep)

    def largest(name: str) -> Tensor:
        values = network.get_parameter(name).detach().abs().cpu().flatten()
        mask = torch.zeros(len(values), dtype=torch.bool)
        mask[values.argsort(descending=True, stable=True)[: round(rate * len(values))]] = True
        return mask.view(plan.shapes[name])

    return split_by(plan, largest)
