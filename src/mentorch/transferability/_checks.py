"""What scores ask of their input, and how they say that a number carries no information."""

import warnings

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError


class Uninformative(UserWarning):
    """A number is right by its definition and says nothing, or less than it seems to, about the network."""


def warn(text: str) -> None:
    """Warn in this package's own category, at the line of whoever called the score."""
    warnings.warn(text, Uninformative, stacklevel=3)


def check_finite(what: str, x: Tensor) -> None:
    """Raise unless ``x`` is floating point, not empty, and finite."""
    if not x.is_floating_point():
        raise UsageError(f"{what}: needs floating point numbers, got {x.dtype}")
    if x.numel() == 0:
        raise UsageError(f"{what}: nothing to score, got shape {list(x.shape)}")
    if not x.isfinite().all():
        bad = int((~x.isfinite()).flatten(1).any(1).sum()) if x.ndim > 1 else int((~x.isfinite()).sum())
        raise RunError(f"{what}: not finite for {bad} of {len(x)} samples: the network has diverged or overflowed")


def class_index(score: str, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Labels as 0 to C - 1, int64, shape ``[N]``, and the size of each class, ``[C]``; absent classes do not count.

    Raises:
        UsageError: for labels that are not integers ``[N]``, other than ``count`` of them, or of one class only.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise UsageError(
            f"{score}: needs one integer class per sample, [N], got {labels.dtype} of shape {list(labels.shape)}"
        )
    if len(labels) != count:
        raise UsageError(f"{score}: {count} samples have {len(labels)} labels")
    classes, index, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise UsageError(f"{score}: all samples are of class {classes.tolist()}: nothing to tell apart")
    return index, sizes


def one_hot(index: Tensor, classes: int) -> Tensor:
    """Indicators of the classes, float64, shape ``[N, C]``."""
    return torch.nn.functional.one_hot(index, classes).double()


def warn_lonely(score: str, sizes: Tensor) -> None:
    """Warn of classes that a score which leaves samples out can never get right."""
    lonely = int((sizes == 1).sum())
    if lonely:
        warn(f"{score}: {lonely} of {len(sizes)} classes have a single sample, which can never be right")


def distributions(score: str, probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Checked probabilities in float64 that sum to one, labels as 0 to C - 1, and sizes of classes."""
    if probabilities.ndim != 2:
        raise UsageError(f"{score}: needs probabilities of source classes [N, S], got {list(probabilities.shape)}")
    check_finite(f"{score}: probabilities", probabilities)
    index, sizes = class_index(score, labels, len(probabilities))
    rows = probabilities.double()
    sums = rows.sum(1, keepdim=True)
    if (rows < 0).any() or ((sums - 1).abs() > 1e-2).any():
        raise UsageError(f"{score}: rows must be probabilities that sum to one; of logits take the softmax first")
    return rows / sums, index, sizes
