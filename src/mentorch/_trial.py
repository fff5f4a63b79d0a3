"""An edge tried on one batch before anything is trained: its weights are made, and what cannot work is named."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mentorch._edge import Edge, named_terms, owned
from mentorch._errors import MentorchError, RunError, UsageError


def try_edge(edge: Edge, student: Any, teachers: Sequence[Tensor], *, build: bool) -> None:
    """Compute the loss of an edge once, of what its target and its sources show.

    Args:
        edge: the edge; an adapter or a loss with ``build(student, *teachers)`` is one whose weights depend on shapes.
        student: what the target shows, a tensor or a tuple of tensors.
        teachers: what the sources show, where the target is.
        build: make the weights of such adapters and losses first, the adapter's before the loss sees what it returns.

    Raises:
        MentorchError: naming the edge: the error of its own parts, or a UsageError with the shapes for any other.
        RunError: for a loss that is not finite.
    """
    device = torch.utils._pytree.tree_leaves(student)[0].device
    parts = owned(edge)
    try:
        if build and hasattr(parts.get("adapter"), "build"):
            _build(parts["adapter"], device, student, *teachers)
        if build and hasattr(parts.get("loss"), "build"):
            _build(parts["loss"], device, edge.adapter(student) if edge.adapter else student, *teachers)
        terms = named_terms(edge, student, teachers)
    except MentorchError as error:
        name = f"edge {edge.name!r}"
        raise type(error)(str(error) if str(error).startswith(name) else f"{name}: {error}") from error
    except Exception as error:
        tensors = torch.utils._pytree.tree_leaves((student, teachers))
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        reason = " ".join(str(error).split())
        raise UsageError(f"edge {edge.name!r} failed on tensors of shape {shapes}: {reason}") from error
    for name, value in terms:
        if not torch.isfinite(value).all():
            raise RunError(f"edge {edge.name!r}: {name!r} is not finite on the first batch")


def _build(part: Any, device: torch.device, *shown: Any) -> None:
    part.build(*shown)
    part.to(device).eval()
