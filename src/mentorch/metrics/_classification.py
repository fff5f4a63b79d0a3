"""How well logits name the class."""

import math

import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision
from mentorch.metrics._checks import check_batch


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest logit is the true class; higher is better.

    Args:
        logits: shape ``[N, K]``; of equal logits the first counts, and a row with a NaN is wrong.
        labels: true classes, integers, shape ``[N]``; a sample whose label is no class is wrong.

    Returns:
        One or zero per sample, shape ``[N]``, float32.

    Raises:
        UsageError: for no samples, or shapes that do not fit.

    >>> import torch
    >>> accuracy(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([1, 1]))
    tensor([1., 0.])
    """
    check_batch("accuracy", logits, labels)
    return ((logits.argmax(1) == labels) & ~logits.isnan().any(1)).float()


def top_k(logits: Tensor, labels: Tensor, *, k: int = 5) -> Tensor:
    """Whether the true class is among the k largest logits; higher is better.

    Args:
        logits: shape ``[N, K]``; of equal logits the first count, and a row with a NaN is wrong.
        labels: true classes, integers, shape ``[N]``; a sample whose label is no class is wrong.
        k: how many, at least 1; with k >= K every row without a NaN is right.

    Returns:
        One or zero per sample, shape ``[N]``, float32.

    Raises:
        UsageError: for no samples, k < 1, or shapes that do not fit.

    >>> import torch
    >>> top_k(torch.tensor([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0]]), torch.tensor([2, 2]), k=2)
    tensor([1., 0.])
    """
    check_batch("top_k", logits, labels)
    if k < 1:
        raise UsageError(f"top_k: k must be at least 1, not {k}")
    first = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
    return ((first == labels[:, None]).any(1) & ~logits.isnan().any(1)).float()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-probability of the true class, natural logarithm; lower is better, ln K is chance.

    Args:
        logits: shape ``[N, K]``; a NaN stays a NaN.
        labels: true classes, integers, shape ``[N]``; one that is no class, such as -100, gives a NaN.

    Returns:
        One value per sample, shape ``[N]``, float32 or float64.

    Raises:
        UsageError: for no samples, or shapes that do not fit.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor([1.3863])
    """
    check_batch("cross_entropy", logits, labels)
    (logits,) = full_precision(logits)
    known = _known(logits, labels)
    return F.cross_entropy(logits, labels.long() * known, reduction="none").masked_fill(~known, math.nan)


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference of the probabilities and the one-hot label; lower is better, at most 2 / K.

    Args:
        logits: shape ``[N, K]``; a NaN stays a NaN.
        labels: true classes, integers, shape ``[N]``; one that is no class, such as -100, gives a NaN.

    Returns:
        One value per sample, the mean over K classes, shape ``[N]``, float32 or float64.

    Raises:
        UsageError: for no samples, or shapes that do not fit.

    >>> import torch
    >>> mean_squared_error(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.2500])
    """
    check_batch("mean_squared_error", logits, labels)
    (logits,) = full_precision(logits)
    known = _known(logits, labels)
    truth = F.one_hot(labels.long() * known, logits.shape[1])
    return (logits.softmax(1) - truth).square().mean(1).masked_fill(~known, math.nan)


def _known(logits: Tensor, labels: Tensor) -> Tensor:
    """Where the label is a class."""
    return (labels >= 0) & (labels < logits.shape[1])
