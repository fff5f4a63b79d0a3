"""One initialisation for every network here."""

from torch import nn


def kaiming(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / fan_in) (He et al., arXiv:1502.01852, eq. 10).

    fan_in, because it counts the inputs of one output right for grouped and depthwise convolutions too.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
