"""Losses that count where the teacher deserves it: the correct gate, and its kin without labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mentorch._errors import UsageError, unknown
from mentorch._math import full_precision
from mentorch.losses._info import describe, layers

Loss = Callable[..., Tensor | Mapping[str, Tensor]]
Divisor = Literal["batch", "passed"]


def where_correct(loss: Loss, *, divide_by: Divisor = "batch", ignore_index: int = -100) -> Loss:
    r"""A loss that counts where the teacher is right (the correct gate).

    .. math:: \ell'_b = \ell_b \cdot 1[\arg\max_c v_{bc} = y_b]

    Only the teacher decides; a tie goes to its lowest class. The mean over the batch divides by N, so that a teacher
    that is often wrong speaks softly. The mask carries no gradient.

    ``loss(student, *sources)`` becomes ``gated(student, *sources, labels)``: the labels are one more source, the last,
    also where the loss reads them itself. The first source are the teacher's logits.

    >>> import torch
    >>> from mentorch.losses import kd
    >>> gated = where_correct(kd)
    >>> gated
    where_correct(kd)
    >>> student, teacher = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 9.0]])
    >>> gated(student, teacher, torch.tensor([0, 0]))  # the second time, the teacher is wrong
    tensor([1.8920, 0.0000])

    Args:
        loss: of the kind ``sample`` or ``row``, on logits, with its options bound by ``functools.partial``. On logits
            ``[N, K, H, W]`` it is asked for every pixel, and the image's value is the mean over its labelled pixels.
        divide_by: ``passed`` scales the values so that their mean is over the samples that pass (of an image: over
            the pixels that pass); not the published form.
        ignore_index: the label of pixels that are in no mean.

    Raises:
        UsageError: here for a loss that owns weights; when called for soft labels, for labels and logits that do not
            fit, and for a loss without a value per sample, as a mask cannot select from a mean.

    References:
        Minami et al., "Knowledge Transfer Graph for Deep Collaborative Learning", ACCV 2020,
            arXiv 1909.04286.
    """
    _check("where_correct", loss, divide_by)
    return _WhereCorrect(loss, divide_by, ignore_index)


def where_confident(loss: Loss, threshold: float = 0.95, *, divide_by: Divisor = "batch") -> Loss:
    r"""A loss that counts where the teacher is confident: the mask of :func:`where_correct` for data without labels.

    .. math:: \ell'_b = \ell_b \cdot 1[\max_c softmax(v_b)_c \ge \tau]

    Args:
        loss: of the kind ``sample`` or ``row``, on logits; the first source are the teacher's.
        threshold: the confidence from which the teacher is heard, in [0, 1].
        divide_by: ``batch``, or ``passed`` for a mean over the samples that pass.

    Raises:
        UsageError: for a threshold outside [0, 1]; otherwise as :func:`where_correct`.

    References:
        Sohn et al., "FixMatch", NeurIPS 2020, arXiv 2001.07685, equation 4 (the mask and its threshold).

    >>> import torch
    >>> from mentorch.losses import kd
    >>> gated = where_confident(kd, 0.9)
    >>> gated(torch.zeros(2, 2), torch.tensor([[3.0, 0.0], [1.0, 0.0]])) > 0
    tensor([ True, False])
    """
    _check("where_confident", loss, divide_by)
    if not 0 <= threshold <= 1:
        raise UsageError(f"where_confident: the threshold is a probability, not {threshold}")
    return _WhereConfident(loss, divide_by, threshold)


@dataclass(frozen=True, repr=False)
class _WhereCorrect:
    __wrapped__: Loss
    divide_by: Divisor
    ignore_index: int
    also: ClassVar = ("labels",)

    @property
    def __name__(self) -> str:
        return f"where_correct({layers(self)[-1].__name__})"

    def __call__(self, student: Tensor, teacher: Tensor, *sources: Tensor) -> Tensor | Mapping[str, Tensor]:
        *others, labels = sources
        if labels.is_floating_point():
            raise UsageError(f"where_correct: needs integer labels, got {labels.dtype}: soft labels have no true class")
        if labels.shape != (len(teacher), *teacher.shape[2:]):
            raise UsageError(
                f"where_correct: labels {list(labels.shape)} do not fit the logits {list(teacher.shape)}: "
                "the first source must be the teacher's logits, the last the labels"
            )
        keep = teacher.argmax(1) == labels
        return _gated(self, student, (teacher, *others), keep, labels != self.ignore_index)

    def __repr__(self) -> str:
        options = "" if self.divide_by == "batch" else f", divide_by={self.divide_by!r}"
        return f"where_correct({describe(self.__wrapped__)}{options})"


@dataclass(frozen=True, repr=False)
class _WhereConfident:
    __wrapped__: Loss
    divide_by: Divisor
    threshold: float

    @property
    def __name__(self) -> str:
        return f"where_confident({layers(self)[-1].__name__})"

    def __call__(self, student: Tensor, teacher: Tensor, *others: Tensor) -> Tensor | Mapping[str, Tensor]:
        (wide,) = full_precision(teacher)
        keep = wide.softmax(1).amax(1) >= self.threshold
        return _gated(self, student, (teacher, *others), keep, torch.ones_like(keep))

    def __repr__(self) -> str:
        options = "" if self.divide_by == "batch" else f", divide_by={self.divide_by!r}"
        return f"where_confident({describe(self.__wrapped__)}, {self.threshold}{options})"


def _gated(
    gate: _WhereCorrect | _WhereConfident, student: Tensor, sources: tuple[Tensor, ...], keep: Tensor, valid: Tensor
) -> Tensor | Mapping[str, Tensor]:
    """The wrapped loss, masked by ``keep``; pixels are rows while the loss is asked, and images after it."""
    dense = keep.ndim > 1
    rows = tuple(_rows(t, keep.ndim) for t in (student, *sources)) if dense else (student, *sources)
    value = gate.__wrapped__(*rows)
    if isinstance(value, Mapping):
        return {name: _masked(gate, term, keep, valid) for name, term in value.items()}
    return _masked(gate, value, keep, valid)


def _rows(x: Tensor, ndim: int) -> Tensor:
    """``[N, K, H, W]`` to ``[N H W, K]``, and labels ``[N, H, W]`` to ``[N H W]``."""
    return x.flatten() if x.ndim == ndim else x.movedim(1, -1).flatten(0, -2)


def _masked(gate: _WhereCorrect | _WhereConfident, value: Tensor, keep: Tensor, valid: Tensor) -> Tensor:
    if value.shape != (keep.numel(),):
        raise UsageError(
            f"{gate.__name__}: the loss gives {list(value.shape)}, not one value per sample to select from"
        )
    keep = keep & valid
    # selected and not multiplied: a value that is left out may be infinite
    value = torch.where(keep, value.view(keep.shape), 0.0)
    counted = keep if gate.divide_by == "passed" else valid
    if keep.ndim > 1:
        return value.flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return value * len(value) / counted.sum().clamp(min=1) if gate.divide_by == "passed" else value


def _check(name: str, loss: Loss, divide_by: Any) -> None:
    if divide_by not in ("batch", "passed"):
        raise unknown(f"divide_by of {name}", divide_by, ("batch", "passed"))
    if isinstance(layers(loss)[-1], nn.Module | type):
        raise UsageError(f"{name}: wraps losses on logits without weights, not {describe(loss)}")
