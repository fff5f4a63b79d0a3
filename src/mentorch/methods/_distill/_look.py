"""A pass of the example through a network, which is left as it was."""

from typing import Any

import torch
from torch import nn

from mentorch._graph import View


@torch.no_grad()
def look(network: nn.Module, view: View | None, inputs: Any) -> Any:
    """What a network makes of inputs in evaluation mode; hooks that were set before see what passes."""
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        return network(inputs if view is None else view(inputs))
    finally:
        for module, mode in modes.items():
            module.training = mode
