"""The operators of ATen that a network which is data may call."""

import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import torch

from mentorch._errors import UsageError

# what torch.export leaves whole although core ATen has it in parts
_WHOLE = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d arange avg_pool1d batch_norm channel_shuffle chunk
clamp_max clamp_min contiguous conv1d conv2d cumsum detach dropout einsum expand_as feature_dropout flatten
floor_divide full_like group_norm hardsigmoid hardswish instance_norm layer_norm lift_fresh_copy linear linspace
log_softmax logsumexp masked_fill matmul max_pool1d max_pool2d mish movedim mT narrow native_channel_shuffle
new_full new_ones new_zeros ones ones_like pad pixel_shuffle prelu relu6 reshape roll rsub
scaled_dot_product_attention selu silu softmax softplus split square squeeze stack t to transpose type_as unbind
unflatten view_as zeros zeros_like
"""
_RAW = ("as_strided", "copy", "empty", "empty_strided", "_embedding_bag")  # memory as it lies
_SIZES = ("add", "sub", "mul", "floordiv", "mod")  # of whole numbers


@functools.cache
def find(name: str) -> Callable[..., Any]:
    """The operator ``aten.NAME.OVERLOAD``, or ``size.NAME`` of whole numbers, if a program may call it.

    Those of core ATen and what `torch.export` leaves whole, also in place: nothing random, nothing that reads memory as
    it lies, and nothing outside ATen, so that no program can do more than calculate.

    Raises:
        UsageError: for any other.

    >>> find("aten.relu.default")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if name.startswith("size.") and name[5:] in _SIZES:
        found: Callable[..., Any] = getattr(operator, name[5:])
        return found
    match = re.fullmatch(r"aten\.(\w+)\.(\w+)", name)
    if match is not None:
        base, overload = match[1].removesuffix("_"), match[2]
        plain, asked = (_overload(each, overload) for each in (base, match[1]))
        if plain is not None and asked is not None and _calculates(base, plain):
            return asked
    raise UsageError(
        f"an exported program may not call {name!r}: only operators of ATen that calculate; what torch.export left "
        "whole and is not known here, the program's run_decompositions() takes apart"
    )


def _overload(name: str, overload: str) -> torch._ops.OpOverload | None:
    packet = getattr(torch.ops.aten, name, None)
    found = getattr(packet, overload, None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
    return found if isinstance(found, torch._ops.OpOverload) else None


def _calculates(base: str, found: torch._ops.OpOverload) -> bool:
    if base in _WHOLE.split():
        return True
    tags, unfit = found.tags, base in _RAW or base.endswith("_backward") or found._schema.is_mutable
    return torch.Tag.core in tags and torch.Tag.nondeterministic_seeded not in tags and not unfit
