"""Whether confidence means what it says."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.metrics._checks import check_batch


def calibration_error(logits: Tensor, labels: Tensor, *, bins: int = 15) -> Tensor:
    r"""Expected calibration error: the mean gap between confidence and accuracy; lower is better.

    .. math:: ECE = \sum_m \frac{|B_m|}{N} |acc(B_m) - conf(B_m)|

    over equal bins ((m - 1) / M, m / M] of the largest probability. Needs the whole split at once: it is not a mean
    over batches.

    Args:
        logits: shape ``[N, K]``; any NaN makes the result NaN.
        labels: true classes, integers, shape ``[N]``.
        bins: M, at least 1.

    Returns:
        A scalar in [0, 1], float64.

    Raises:
        UsageError: for no samples, no bins, or shapes that do not fit.

    References:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599, equation 3.

    >>> calibration_error(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]))  # half sure, half right
    tensor(0., dtype=torch.float64)
    """
    check_batch("calibration_error", logits, labels)
    if bins < 1:
        raise UsageError(f"calibration_error: needs at least 1 bin, not {bins}")
    confidence, choice = logits.double().softmax(1).max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    gaps = confidence.new_zeros(bins)
    gaps.scatter_add_(0, torch.bucketize(confidence, edges), (choice == labels).double() - confidence)
    return gaps.abs().sum() / len(labels)
