"""Networks with statistics worth testing, and sums that do not depend on the order of their terms."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Exact(TorchFunctionMode):
    """Convolutions and linear layers as sums of sorted terms, and curved activations alike for every element.

    Two networks that add the same numbers then agree in every bit. Ordinary kernels add in an order that depends on the
    shapes, and even on where in memory a tensor lies.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name == "conv2d":
            return _convolve(*args, **(kwargs or {}))
        if name == "linear":
            return _multiply(*args, **(kwargs or {}))
        if name in ("gelu", "silu", "sigmoid"):
            return _everywhere_alike(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _everywhere_alike(func, x, **options):
    """The last few elements of a tensor go another way through the processor: let them be padding."""
    return func(F.pad(x.flatten(), (0, 64)), **options)[: x.numel()].view(x.shape)


def _sum(terms: Tensor) -> Tensor:
    return terms.sort(dim=-1).values.cumsum(-1)[..., -1]


def _multiply(x, weight, bias=None):
    y = torch.stack([_sum(row * weight) for row in x.reshape(-1, 1, x.shape[-1])]).view(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def _convolve(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    patches = F.unfold(x, weight.shape[2:], dilation, padding, stride)  # [N, C k k, L]
    parts = zip(patches.chunk(groups, 1), weight.flatten(1).chunk(groups), strict=True)
    y = torch.cat([torch.stack([_sum(p.mT * row) for row in w], 1) for p, w in parts], 1)
    size = F.conv2d(x[:1, :1], weight[:1, :1], None, stride, padding, dilation).shape[2:]
    y = y.view(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def exact() -> Callable[[nn.Module, Tensor], Tensor]:
    """``exact(network, x)``: what the network computes when sums do not depend on the order of their terms."""

    @torch.no_grad()
    def run(network: nn.Module, x: Tensor) -> Tensor:
        with Exact():
            return network(x)

    return run


@pytest.fixture
def lively() -> Callable[[nn.Module], nn.Module]:
    """``lively(network)``: in float64 and evaluation mode, with norms and biases that are not where they began."""

    def enliven(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
            elif isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
        return network.double().eval()

    return enliven
