"""What losses that own weights have in common."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch._math import full_precision


class TrainableLoss(nn.Module):
    """A loss that owns weights: the first shapes it sees make them, and everything runs in full precision.

    A subclass defines ``_make(student, *teachers)``, which creates its layers from one batch, and
    ``_compare(student, *teachers)``, the value. Teachers arrive there without gradient.
    """

    _make: Callable[..., None]
    _compare: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self._shapes: tuple[tuple[int, ...], ...] | None = None

    def build(self, student: Tensor | tuple[Tensor, ...], *teachers: Tensor) -> Self:
        """Create the layers from one batch, on the student's device; a second time, with the same shapes, do nothing.

        Args:
            student: what the edge shows, a tuple where it has several targets.
            teachers: as many sources as the loss reads.

        Raises:
            UsageError: if the loss cannot be built for these shapes, or was built for others.
        """
        student, teachers = _exact(student, teachers)
        tensors = (*(student if isinstance(student, tuple) else (student,)), *teachers)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in tensors)
        if self._shapes is None:
            with torch.no_grad():
                self._make(student, *teachers)
            self.to(tensors[0].device, tensors[0].dtype).train(self.training)
            self._shapes = shapes
        elif shapes != self._shapes:
            name = type(self).__name__
            raise UsageError(f"this {name} was built for {_text(self._shapes)}, not {_text(shapes)}: make another")
        return self

    def forward(self, student: Tensor | tuple[Tensor, ...], *teachers: Tensor) -> Any:
        """The loss, as the class describes it.

        Raises:
            RunError: before :meth:`build`.
        """
        if self._shapes is None:
            raise RunError(
                f"this {type(self).__name__} has no layers yet: call build(student, *teachers), "
                "or give the graph an example batch"
            )
        student, teachers = _exact(student, teachers)
        with torch.autocast(teachers[0].device.type, enabled=False):
            return self._compare(student, *teachers)


def _exact(
    student: Tensor | tuple[Tensor, ...], teachers: tuple[Tensor, ...]
) -> tuple[Tensor | tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Everything in full precision, and teachers without gradient."""
    teachers = full_precision(*(teacher.detach() for teacher in teachers))
    return full_precision(student)[0] if isinstance(student, Tensor) else full_precision(*student), teachers


def _text(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
