"""Layers that know their own fit part, for networks that are built by hand."""

import torch
from torch import nn

from mentorch.structure._plan import plan
from mentorch.structure._reset import reset
from mentorch.structure._split import Mode, Rate, Split, split


class SplitConv2d(nn.Conv2d):
    """A convolution with a fit and a reset part.

    A network of ordinary layers needs none of this: `plan` and `split` do the same for all of its layers at once, and
    know which of them belong together.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel.
        stride: step of the kernel.
        padding: zeros around the input.
        groups: groups of channels that never meet.
        bias: whether there is an offset.
        keep: the split rate.
        mode: by leading channels (`kels`), by random channels (`random`) or by weights (`wels`).
        whole_input: keep every input channel, as the first layer of a network does.
        seed: of the random choice.

    >>> layer = SplitConv2d(4, 6, 3, keep=0.5, bias=False)
    >>> int(layer.split.mask("weight").sum())
    54
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        keep: Rate = 0.5,
        mode: Mode = "kels",
        whole_input: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        example = torch.zeros(1, in_channels, *self.kernel_size)
        self.split = _split(self, example, keep, mode, ("input",) if whole_input else (), seed)

    def reset(self, seed: int) -> None:
        """Draw the reset part anew."""
        reset(self, self.split, seed=seed)


class SplitLinear(nn.Linear):
    """A linear layer with a fit and a reset part; see `SplitConv2d`.

    Args:
        in_features: length of the input.
        out_features: length of the output.
        bias: whether there is an offset.
        keep: the split rate.
        mode: by leading channels (`kels`), by random channels (`random`) or by weights (`wels`).
        whole_output: keep every output, as a classifier does.
        seed: of the random choice.

    >>> layer = SplitLinear(10, 3, keep=0.5, whole_output=True)
    >>> int(layer.split.mask("weight").sum())
    15
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        keep: Rate = 0.5,
        mode: Mode = "kels",
        whole_output: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        pin = ("weight",) if whole_output else ()
        self.split = _split(self, torch.zeros(1, in_features), keep, mode, pin, seed)

    def reset(self, seed: int) -> None:
        """Draw the reset part anew."""
        reset(self, self.split, seed=seed)


def _split(layer: nn.Module, example: torch.Tensor, keep: Rate, mode: Mode, pin: tuple[str, ...], seed: int) -> Split:
    return split(plan(layer, example, pin=pin, pin_ends=False), keep, mode=mode, seed=seed)
