"""How well a segmentation names the class of each pixel."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch.metrics._streaming import Streaming


@dataclass(frozen=True)
class SegmentationScores:
    """Result of :func:`segmentation`: shares in [0, 1], higher is better, NaN where nothing was measured.

    Attributes:
        miou: mean intersection over union, of the classes that somebody named.
        pixel_accuracy: share of pixels whose class is right.
        class_accuracy: mean over the classes in the labels of the share of their pixels that are right.
        frequency_weighted_iou: mean intersection over union, weighted by the pixels of each class in the labels.
        iou: of each class, NaN where neither labels nor prediction have it.
        pixels: how many counted.
    """

    miou: float
    pixel_accuracy: float
    class_accuracy: float
    frequency_weighted_iou: float
    iou: tuple[float, ...]
    pixels: int


def segmentation(
    num_classes: int, *, ignore: int = 255, absent: Literal["skip", "zero"] = "skip"
) -> Streaming[SegmentationScores]:
    r"""Intersection over union and accuracies of a segmentation, from the confusion matrix of all pixels.

    With M_ij the pixels of class i that were called j,

    .. math:: IoU_i = \frac{M_{ii}}{\sum_j M_{ij} + \sum_j M_{ji} - M_{ii}}, \quad
        acc = \frac{\sum_i M_{ii}}{\sum_{ij} M_{ij}}, \quad acc_i = \frac{M_{ii}}{\sum_j M_{ij}}

    ``update(prediction, labels)`` takes logits ``[N, K, H, W]`` or integers ``[N, H, W]``, classes, and labels
    ``[N, H, W]``. A pixel counts if its label is a class and not ``ignore``; a prediction that is no class, or a NaN,
    is wrong.

    Args:
        num_classes: K.
        ignore: label that counts nowhere, any integer; may be 0.
        absent: classes that neither labels nor prediction have are left out of the mean, or count 0, to compare with
            code that does so.

    Raises:
        UsageError: for no classes, or an unknown word; in ``update``, for shapes or types that do not fit.

    References:
        Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv 1411.4038, section 5.

    >>> metric = segmentation(2)
    >>> metric.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 1, 255]]]))
    >>> metric.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
    >>> metric.compute().iou, metric.compute().pixel_accuracy
    ((0.6666666666666666, 0.5), 0.75)
    """
    if num_classes < 1:
        raise UsageError(f"segmentation: needs at least 1 class, not {num_classes}")
    if absent not in ("skip", "zero"):
        raise unknown("treatment of absent classes", absent, ("skip", "zero"))
    return Streaming(
        partial(_confusion, num_classes=num_classes, ignore=ignore),
        partial(_scores, absent=absent),
        torch.zeros(num_classes, num_classes + 1, dtype=torch.int64),
    )


def _confusion(prediction: Tensor, labels: Tensor, *, num_classes: int, ignore: int) -> Tensor:
    """Pixels of class i called j, shape ``[K, K + 1]``; the last column is what was called no class."""
    classes = _classes(prediction, num_classes)
    if classes.shape != labels.shape or classes.is_floating_point() or labels.is_floating_point():
        raise UsageError(
            f"segmentation: needs logits [N, {num_classes}, H, W] or integer classes [N, H, W], and integer labels "
            f"[N, H, W], got {prediction.dtype} {list(prediction.shape)} and {labels.dtype} {list(labels.shape)}"
        )
    labels = labels.long()
    counts = (labels != ignore) & (labels >= 0) & (labels < num_classes)
    named = torch.where((classes >= 0) & (classes < num_classes), classes, num_classes)
    cell = torch.where(counts, labels * (num_classes + 1) + named, num_classes * (num_classes + 1)).flatten()
    sums = torch.zeros(num_classes * (num_classes + 1) + 1, dtype=torch.int64, device=labels.device)
    return sums.scatter_add_(0, cell, torch.ones_like(cell))[:-1].view(num_classes, num_classes + 1)


def _classes(prediction: Tensor, num_classes: int) -> Tensor:
    if not prediction.is_floating_point():
        return prediction.long()
    if prediction.ndim != 4 or prediction.shape[1] != num_classes:
        return prediction  # of another shape than labels have, or may have
    return prediction.argmax(1).masked_fill(prediction.isnan().any(1), num_classes)


def _scores(confusion: Tensor, *, absent: str) -> SegmentationScores:
    table = confusion.double()
    hits, truth, named = table.diagonal(), table.sum(1), table[:, :-1].sum(0)
    iou = hits / (truth + named - hits)  # 0 / 0 is NaN
    total = truth.sum()
    return SegmentationScores(
        miou=_mean(iou.nan_to_num(0.0) if absent == "zero" and total > 0 else iou),
        pixel_accuracy=float(hits.sum() / total),
        class_accuracy=_mean(hits / truth),
        frequency_weighted_iou=float((truth * iou.nan_to_num(0.0)).sum() / total),
        iou=tuple(iou.tolist()),
        pixels=int(total),
    )


def _mean(values: Tensor) -> float:
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else math.nan
