"""How well depth is measured."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.metrics._streaming import Streaming

_RATIO = 1.25
_MEANS = 9  # columns that are means over pixels; then the scale-invariant error, the images, the pixels


@dataclass(frozen=True)
class DepthScores:
    """Result of :func:`depth`; lower is better but for the deltas, NaN where nothing was measured.

    Attributes:
        rmse: root of the mean squared error, metres.
        rmse_log: the same of natural logarithms.
        mae: mean absolute error, metres.
        abs_rel: mean of the absolute error over the true depth.
        sq_rel: mean of the squared error over the true depth, metres.
        log10: mean absolute error of decimal logarithms.
        delta1, delta2, delta3: share of pixels with max(p / g, g / p) below 1.25, its square, its cube.
        scale_invariant: mean over images of mean(d^2) - weight * mean(d)^2, with d = ln p - ln g.
        pixels, images: how many counted.
    """

    rmse: float
    rmse_log: float
    mae: float
    abs_rel: float
    sq_rel: float
    log10: float
    delta1: float
    delta2: float
    delta3: float
    scale_invariant: float
    pixels: int
    images: int


def depth(
    *,
    low: float = 1e-3,
    high: float = float("inf"),
    per_image: bool = False,
    weight: float = 1.0,
    root: bool = False,
) -> Streaming[DepthScores]:
    r"""Errors of depth p against the truth g, over pixels where g is known.

    .. math:: RMSE = \sqrt{\tfrac{1}{n} \sum (p - g)^2}, \quad absrel = \tfrac{1}{n} \sum |p - g| / g, \quad
        \delta_k = \tfrac{1}{n} |\{\max(p/g, g/p) < 1.25^k\}|

    .. math:: SI = mean_{images} [mean(d^2) - \lambda \, mean(d)^2], \quad d = \ln p - \ln g

    ``update(prediction, target)`` takes metres, both ``[N, 1, H, W]`` or ``[N, H, W]``. A pixel counts if the truth is
    finite, positive, and in [low, high]. Predictions below ``low`` are raised to it, since the logarithm needs a
    positive number; a NaN makes the result NaN.

    Args:
        low, high: metres; 1e-3 and 10 are usual for NYUv2.
        per_image: each value is first computed for each image, then averaged over images that have a pixel; otherwise
            all pixels of the data are pooled (the scale-invariant error is always a mean over images).
        weight: lambda of the scale-invariant error; 1 does not see a global factor.
        root: take the square root of the scale-invariant error of each image.

    Raises:
        UsageError: for an impossible range; in ``update``, for shapes that do not fit.

    References:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014, arXiv
        1406.2283, section 4.3 and equation 3.

    >>> metric = depth()
    >>> metric.update(torch.tensor([[[2.0, 1.0, 5.0]]]), torch.tensor([[[1.0, 1.0, 0.0]]]))
    >>> scores = metric.compute()
    >>> scores.abs_rel, scores.delta1, scores.pixels
    (0.5, 0.5, 2)
    """
    if not 0 < low < high:
        raise UsageError(f"depth: 0 < low < high is needed, not {low} and {high}")
    return Streaming(
        partial(_sums, low=low, high=high, per_image=per_image, weight=weight, root=root),
        partial(_scores, per_image=per_image),
        torch.zeros(_MEANS + 3, dtype=torch.float64),
    )


def _sums(
    prediction: Tensor, target: Tensor, *, low: float, high: float, per_image: bool, weight: float, root: bool
) -> Tensor:
    if prediction.shape != target.shape or target.ndim not in (3, 4) or (target.ndim == 4 and target.shape[1] != 1):
        shapes = f"{list(prediction.shape)} and {list(target.shape)}"
        raise UsageError(f"depth: needs prediction and target of one shape, [N, 1, H, W] or [N, H, W], got {shapes}")
    truth = target.flatten(1).double()
    counts = truth.isfinite() & (truth >= low) & (truth <= high)
    g = torch.where(counts, truth, 1.0)
    p = torch.where(counts, prediction.flatten(1).double(), 1.0).clamp(min=low)  # [N, P]
    error, d = p - g, p.log() - g.log()
    ratio = torch.maximum(p / g, g / p)
    values = (
        *(error.square(), d.square(), error.abs(), error.abs() / g, error.square() / g, p.log10().sub(g.log10()).abs()),
        *((ratio < _RATIO**k).double() for k in (1, 2, 3)),
    )
    sums = torch.stack([(value * counts).sum(1) for value in values], dim=1)  # [N, 9]
    pixels = counts.sum(1, keepdim=True).double()
    known = pixels > 0
    means = sums / pixels.clamp(min=1)
    invariant = means[:, 1:2] - weight * (d * counts).sum(1, keepdim=True).div(pixels.clamp(min=1)).square()
    if root:
        invariant = invariant.clamp(min=0).sqrt()
    if per_image:
        sums = torch.cat((means[:, :2].sqrt(), means[:, 2:]), dim=1)
    return torch.cat((sums, invariant * known, known.double(), pixels), dim=1).sum(0)


def _scores(sums: Tensor, *, per_image: bool) -> DepthScores:
    images, pixels = sums[-2:]
    means = sums[:_MEANS] / (images if per_image else pixels)
    if not per_image:
        means[:2] = means[:2].sqrt()
    rmse, rmse_log, mae, abs_rel, sq_rel, log10, delta1, delta2, delta3 = means.tolist()
    return DepthScores(
        rmse=rmse,
        rmse_log=rmse_log,
        mae=mae,
        abs_rel=abs_rel,
        sq_rel=sq_rel,
        log10=log10,
        delta1=delta1,
        delta2=delta2,
        delta3=delta3,
        scale_invariant=float(sums[_MEANS] / images),
        pixels=int(pixels),
        images=int(images),
    )
