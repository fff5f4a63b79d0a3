"""What layers do to channels: they consume those of their input, and make new ones along their weights."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from mentorch._errors import UsageError

if TYPE_CHECKING:
    from mentorch.structure._operations import Rule
    from mentorch.structure._trace import Trace


def convolution(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002 - the layers of torch pass it by this name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    _check_rank(trace, input, weight.ndim)
    inputs = trace.along(input, 1)
    shape = func(blank(input), torch.zeros(1, 1, *weight.shape[2:]), None, stride, padding, dilation).shape
    if groups > 1 and weight.shape[1] == 1:
        outputs = _depthwise(trace, weight, inputs, weight.shape[0] // groups)
    else:
        trace.note(weight, 1, inputs, groups)
        outputs = trace.create(weight, 0, weight.shape[0], groups)
    trace.note(bias, 0, outputs)
    _count(trace, weight, math.prod(shape[2:]))
    return trace.numbered(outputs, (input.shape[0], 1, *shape[2:]), 1)


def transposed(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    _check_rank(trace, input, weight.ndim)
    inputs = trace.along(input, 1)
    kernel = torch.zeros(1, 1, *weight.shape[2:])
    shape = func(blank(input), kernel, None, stride, padding, output_padding, 1, dilation).shape
    if groups == 1:
        trace.note(weight, 0, inputs)
        outputs = trace.create(weight, 1, weight.shape[1])
    elif groups != weight.shape[0]:
        raise UsageError(f"{trace.where} is a transposed convolution of {groups} groups, for which there is no rule")
    elif weight.shape[1] != 1:
        raise UsageError(f"{trace.where} is a transposed convolution with several filters per channel: no rule")
    else:
        outputs = _depthwise(trace, weight, inputs, 1)
    trace.note(bias, 0, outputs)
    _count(trace, weight, math.prod(input.shape[2:]))
    return trace.numbered(outputs, (input.shape[0], 1, *shape[2:]), 1)


def _depthwise(trace: "Trace", weight: Tensor, inputs: Tensor, filters: int) -> Tensor:
    """A filter belongs to the channel that it reads; a layer of torch keeps their number in ``groups``."""
    outputs = inputs.repeat_interleave(filters)
    trace.note(weight, 0, outputs)
    path = trace.name(weight, "weight").rpartition(".")[0]
    if isinstance(vars(trace.network.get_submodule(path)).get("groups"), int):
        trace.attributes.setdefault(path, {})["groups"] = len(inputs)
    else:
        trace.pin(inputs, f"read one by one in {trace.where}, whose weight is in no layer that counts its groups")
    return outputs


def linear(
    trace: "Trace",
    func: "Rule",
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    trace.note(weight, 1, trace.along(input, -1))
    outputs = trace.create(weight, 0, weight.shape[0])
    trace.note(bias, 0, outputs)
    _count(trace, weight, math.prod(input.shape[1:-1]))
    return trace.numbered(outputs, input.shape, -1)


def per_channel(trace: "Trace", func: "Rule", input: Tensor, *tensors: Any, **named: Any) -> Tensor:  # noqa: A002
    """Batch and instance normalisation, PReLU: one number of each tensor per channel."""
    channels = trace.along(input, 1)
    for tensor in (*tensors, *named.values()):
        shared = func.__name__ == "prelu" and isinstance(tensor, Tensor) and tensor.numel() == 1
        if isinstance(tensor, Tensor) and not shared:
            trace.note(tensor, 0, channels)
    return input


def normalize(trace: "Trace", func: "Rule", input: Tensor, *args: Any, **named: Any) -> Tensor:  # noqa: A002
    """Statistics over channels: to leave one out changes all others."""
    trace.pin(input, f"normalised together with others by {trace.where}")
    return input


def multi_head(
    trace: "Trace", func: "Rule", query: Tensor, key: Tensor, value: Tensor, *args: Any, **named: Any
) -> Any:
    """`nn.MultiheadAttention` has one width for its inputs, its heads and its output: all of it stays."""
    for tensor in (query, key, value):
        trace.pin(trace.along(tensor, -1), f"read by {trace.where}, whose heads have the width of its input")
    given = {trace.names[id(leaf)]: leaf for leaf in tree_leaves((args, named)) if id(leaf) in trace.names}
    for name, tensor in given.items():
        if tensor.ndim == 2:
            _count(trace, tensor, query.shape[0])
        if name.endswith("out_proj.weight"):
            outputs = trace.create(tensor, 0, tensor.shape[0])
            trace.pin(outputs, f"written by {trace.where}, whose heads have the width of its input")
    return trace.numbered(outputs, query.shape, -1), None


def blank(x: Tensor) -> Tensor:
    """Zeros of the positions of ``x``, with one channel, to learn how an operation changes them."""
    return torch.zeros(1, 1, *x.shape[2:])


def _count(trace: "Trace", weight: Tensor, positions: int) -> None:
    name = trace.name(weight, "weight")
    trace.layers[name] = trace.layers.get(name, 0) + positions


def _check_rank(trace: "Trace", x: Tensor, rank: int) -> None:
    if x.ndim != rank:
        raise UsageError(f"{trace.where} reads a tensor without a batch dimension: give the example one")
