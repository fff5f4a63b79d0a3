"""What a program has to know about a loss to draw its edge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class LossInfo:
    """Facts about a loss, as data.

    Attributes:
        function: the loss, ``function(student, *sources, **options)``; sources are the teacher, then the labels, as
            far as it reads them.
        reads: which tensors of student and teacher it compares: ``logits``, the ``embedding``, every pair of
            ``stages`` (one edge each), or one ``stage`` pair.
        kind: ``sample``: entry b depends on sample b alone; ``row``: entry b is the share of anchor b, and depends on
            the others; ``batch``: one number for the whole batch.
        weight: the published weight, translated to the mean of what the function returns.
        summary: one line for a list.
        paper: where it is from.
        teacher: whether it compares with a teacher; otherwise the labels are its only source.
        labels: whether it reads the labels.
        adapter: whether the student's tensor needs an adapter (see ``Regressor``) unless shapes agree.
        labels_weight: the weight of the labels' cross-entropy that was published with ``weight``.
    """

    function: Callable[..., Any]
    reads: Literal["logits", "embedding", "stages", "stage"]
    kind: Literal["sample", "row", "batch"]
    weight: float
    summary: str
    paper: str
    teacher: bool = True
    labels: bool = False
    adapter: bool = False
    labels_weight: float = 1.0

    @property
    def name(self) -> str:
        """The name under which :mod:`mentorch.losses` exports the loss."""
        return self.function.__name__
