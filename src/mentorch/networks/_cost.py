"""How large a network is, and how much it computes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Size and work of a network.

    Args:
        parameters: numbers that are learned, shared ones counted once.
        macs: multiply-adds of one forward pass in convolutions and matrix products.
    """

    parameters: int
    macs: int


def cost(network: nn.Module, example: Tensor) -> Cost:
    """Parameters of ``network`` and multiply-adds of one forward pass on ``example`` (`[1, C, H, W]` for one image).

    The network runs once in evaluation mode without gradients, and is left as it was. Element-wise work
    (activations, normalisation, pooling) is not counted, as usual.

    >>> cost(nn.Linear(3, 5), torch.zeros(1, 3))
    Cost(parameters=20, macs=15)
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        # fused attention is not counted on every device: as matrix products it is
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(example)
    finally:
        # one by one: train() would also switch on what was switched off inside
        for module in training:
            module.training = True
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)
