"""How well surface normals are found."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import unit
from mentorch.metrics._streaming import Streaming

_LIMITS = (11.25, 22.5, 30.0)
_BINS = 18_000  # of a hundredth of a degree
_UNKNOWN = 90.0  # degrees of a prediction without direction


@dataclass(frozen=True)
class NormalScores:
    """Result of :func:`normals`; angles in degrees, lower is better; shares, higher is better; NaN without a pixel.

    Attributes:
        mean, median, rmse: of the angles; the median to within 0.005 degrees.
        within_11_25, within_22_5, within_30: share of pixels with a smaller angle.
        pixels: how many counted.
    """

    mean: float
    median: float
    rmse: float
    within_11_25: float
    within_22_5: float
    within_30: float
    pixels: int


def normals() -> Streaming[NormalScores]:
    r"""Angles between surface normals a and the truth b.

    .. math:: \theta = \arctan_2(\lVert a \times b \rVert, \langle a, b \rangle)

    which, unlike the arc cosine of a product, is exact near 0. ``update(prediction, target)`` takes vectors of any
    length, both ``[N, 3, H, W]``. A pixel counts unless the truth is the zero vector, or not finite. A prediction of
    length zero has an angle of 90 degrees; a NaN makes the mean NaN and is within no limit. The median comes from
    a histogram of hundredths of a degree, so that it adds up over batches and processes.

    Raises:
        UsageError: in ``update``, for shapes that do not fit.

    References:
        Fouhey et al., "Data-Driven 3D Primitives for Single Image Understanding", ICCV 2013, section 4 (the six
        numbers).

    >>> metric = normals()
    >>> target = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
    >>> metric.update(torch.tensor([0.0, 1.0, -1.0]).view(1, 3, 1, 1), target)
    >>> metric.compute().mean, metric.compute().within_30
    (45.0, 0.0)
    """
    return Streaming(_sums, _scores, torch.zeros(3 + len(_LIMITS) + _BINS, dtype=torch.float64))


def _sums(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape or target.ndim != 4 or target.shape[1] != 3:
        shapes = f"{list(prediction.shape)} and {list(target.shape)}"
        raise UsageError(f"normals: needs prediction and target of shape [N, 3, H, W], got {shapes}")
    a, b = (unit(x.double(), dim=1) for x in (prediction, target))
    counts = (target.isfinite().all(1) & (b != 0).any(1)).flatten()
    angle = torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=1).norm(dim=1), (a * b).sum(1)))
    angle = torch.where((a == 0).all(1), _UNKNOWN, angle)
    angle = torch.where(prediction.isfinite().all(1), angle, math.nan).flatten()
    angle = torch.where(counts, angle, 0.0)
    bins = (angle * 100).nan_to_num(_BINS).long().clamp(max=_BINS - 1)
    histogram = angle.new_zeros(_BINS).scatter_add_(0, bins, counts.double())
    within = [((angle < limit) & counts).sum().double() for limit in _LIMITS]
    return torch.cat((torch.stack([counts.sum().double(), angle.sum(), angle.square().sum(), *within]), histogram))


def _scores(sums: Tensor) -> NormalScores:
    pixels, total, squares, *within = sums[: 3 + len(_LIMITS)].tolist()
    reached = sums[3 + len(_LIMITS) :].cumsum(0)
    ranks = torch.tensor(((pixels - 1) // 2, pixels // 2), dtype=torch.float64) + 1  # the middle one, or two
    middle = float(torch.searchsorted(reached, ranks).double().mean() + 0.5) / 100
    first, second, third = (count / pixels if pixels else math.nan for count in within)
    return NormalScores(
        mean=total / pixels if pixels else math.nan,
        median=middle if pixels else math.nan,
        rmse=math.sqrt(squares / pixels) if pixels else math.nan,
        within_11_25=first,
        within_22_5=second,
        within_30=third,
        pixels=int(pixels),
    )
