"""Temperature scaling: how loud a teacher should be."""

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError

_LEAST, _MOST = 0.01, 100.0


def calibrate(logits: Tensor, labels: Tensor) -> float:
    r"""The temperature at which a network's confidence fits what it gets right on held-out data.

    .. math:: \tau = \arg\min_t \sum_b -\log softmax(v_b / t)_{y_b}

    The sum is convex in 1 / t, so its minimum is found by halving, to full precision. Teachers that were calibrated on
    data of their own speak in one scale: give them as ``calibration`` to :class:`mentorch.losses.Concatenated`.

    Args:
        logits: of held-out samples, shape ``[N, K]``; not those that it was trained on.
        labels: their classes, shape ``[N]``, in the network's own numbering.

    Returns:
        The temperature, between 0.01 and 100; above 1 for a network that is too confident.

    Raises:
        UsageError: for no samples, other shapes, or labels that are no classes.
        RunError: for logits that are not finite.

    References:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599, equation 9.

    >>> logits = torch.tensor([[8.0, 0.0]]).expand(4, 2)
    >>> round(calibrate(logits, torch.tensor([0, 0, 0, 1])), 4)  # right in 3 of 4: 8 / ln 3
    7.2819
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise UsageError(
            f"calibrate needs logits [N, K] and labels [N], got {list(logits.shape)}, {list(labels.shape)}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise UsageError(f"calibrate: labels {int(labels.min())}..{int(labels.max())}, but {logits.shape[1]} classes")
    values = logits.detach().double()
    if not values.isfinite().all():
        raise RunError("calibrate: logits are not finite: the network has diverged")
    said = values.gather(1, labels.long()[:, None])[:, 0].mean()
    low, high = torch.tensor([1 / _MOST, 1 / _LEAST], dtype=torch.float64, device=values.device).log()
    for _ in range(64):
        middle = (low + high) / 2
        # the slope in 1 / t: what it expects of itself less what it says of the truth
        expected = ((middle.exp() * values).softmax(1) * values).sum(1).mean()
        low, high = (low, middle) if expected > said else (middle, high)
    return float((-middle).exp())
