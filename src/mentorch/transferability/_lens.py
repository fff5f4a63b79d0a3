"""How a network is asked what it looks at."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mentorch._errors import UsageError
from mentorch._math import length

Rule = Callable[[nn.Module, Tensor], Tensor]
"""From a module that maps inputs to one number each, and inputs, to attributions of the inputs' shape."""

_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus")
_BOUNDED = ("sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid")
_NONLINEAR = frozenset(
    getattr(place, name)
    for place in (torch, torch.Tensor, torch.nn.functional)
    for base in (*_ACTIVATIONS, *_BOUNDED)
    for name in (base, f"{base}_")
    if hasattr(place, name)
)


def saliency(score: nn.Module, inputs: Tensor) -> Tensor:
    """Absolute gradient of each input's number.

    >>> saliency(lambda x: x @ torch.tensor([2.0, -3.0]), torch.ones(1, 2))
    tensor([[2., 3.]])
    """
    return _gradient(score, inputs).abs()


def gradient_x_input(score: nn.Module, inputs: Tensor) -> Tensor:
    """Gradient of each input's number, times the input.

    >>> gradient_x_input(lambda x: x @ torch.tensor([2.0, -3.0]), torch.tensor([[1.0, 2.0]]))
    tensor([[ 2., -6.]])
    """
    return _gradient(score, inputs) * inputs


def epsilon_ratio(score: nn.Module, inputs: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    r"""Layer-wise relevance propagation by ratios: gradient times input with other slopes.

    The slope of every elementwise activation is replaced by :math:`f(x) / (x + \epsilon \operatorname{sign}(x))`. For
    networks of ReLU it is gradient times input up to :math:`\epsilon`. Activations are found as functions, so modules
    and plain calls, in place or not, count alike.

    References:
        Ancona et al., "Towards better understanding of gradient-based attribution methods for Deep Neural Networks",
        ICLR 2018, arXiv 1711.06104, proposition 1.
    """
    with _Ratios(epsilon):
        return _gradient(score, inputs) * inputs


def total(output: Tensor) -> Tensor:
    """Sum of all entries of each output, shape ``[N]``: what was published for model selection."""
    return output.flatten(1).sum(1)


def average(output: Tensor) -> Tensor:
    """Mean of all entries of each output, shape ``[N]``: what was published for layer selection."""
    return output.flatten(1).mean(1)


def norm(output: Tensor) -> Tensor:
    """Euclidean length of each output, shape ``[N]``: what public re-implementations explain; the maps differ much."""
    return length(output.flatten(1))


@dataclass(frozen=True)
class Lens:
    """What is attributed to the inputs, how, and how features are compared: networks are compared through one lens.

    Args:
        rule: from a module and inputs to attributions: ``saliency``, ``gradient_x_input``, ``epsilon_ratio``, or any
            function around a method of captum, as ``def deep_lift(score, x): return DeepLift(score).attribute(x)``.
        scalar: one number from the tensor at the address: ``total``, ``average`` or ``norm``.
        absolute: take absolute attributions before the mean over channels.
        centred: subtract the mean of features over probes before cosines between probes.

    >>> str(MODEL_SELECTION)
    'gradient_x_input of total, signed, centred'
    """

    rule: Rule = gradient_x_input
    scalar: Callable[[Tensor], Tensor] = total
    absolute: bool = False
    centred: bool = True

    def __str__(self) -> str:
        signs, origin = "absolute" if self.absolute else "signed", "centred" if self.centred else "not centred"
        return f"{_name(self.rule)} of {_name(self.scalar)}, {signs}, {origin}"


MODEL_SELECTION = Lens()
"""As the public code of DEPARA compares networks."""
LAYER_SELECTION = Lens(scalar=average, absolute=True, centred=False)
"""As the public code of DEPARA compares layers."""


def _gradient(score: nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        inputs = inputs.detach().clone().requires_grad_()  # a copy: what inference mode made has no gradient
        value = score(inputs)
        if not value.requires_grad:
            return torch.zeros_like(inputs)
        (found,) = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    return torch.zeros_like(inputs) if found is None else found


def _name(function: Callable[..., object]) -> str:
    if isinstance(function, functools.partial):
        options = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in function.keywords.items())]
        return f"{_name(function.func)}({', '.join(options)})"
    name = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise UsageError(
            "a lens needs functions with names, as its name is part of what is stored: use def, not lambda"
        )
    return name


class _Ratio(torch.autograd.Function):
    """The value given, with the slope ``value / x``."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, value: Tensor, epsilon: float) -> Tensor:
        ctx.ratio = value / (x + torch.where(x >= 0, epsilon, -epsilon))  # type: ignore[attr-defined]
        return value.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.ratio, None, None  # type: ignore[attr-defined]


class _Ratios(TorchFunctionMode):
    """While entered, activations have the slopes of :class:`_Ratio`."""

    def __init__(self, epsilon: float):
        super().__init__()
        self.epsilon = epsilon

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func not in _NONLINEAR or not args:
            return func(*args, **(kwargs or {}))
        x, *options = args
        with torch.no_grad():
            scratch = x.detach().clone()
            value = func(scratch, *options, **(kwargs or {}))
        result = _Ratio.apply(x, value, self.epsilon)  # type: ignore[no-untyped-call]
        return x.copy_(result) if value is scratch else result
