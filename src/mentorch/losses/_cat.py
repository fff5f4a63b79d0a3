"""Class attention transfer."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import full_precision, same_shape, squared_error, unit
from mentorch.losses._info import LossInfo


def cat(
    student: Tensor,
    teacher: Tensor,
    *,
    student_head: nn.Linear | None = None,
    teacher_head: nn.Linear | None = None,
    size: int = 2,
    normalize: bool = True,
    keep_bias: bool = True,
    binarize: bool = False,
    only: int = 0,
) -> Tensor:
    r"""Difference of the class activation maps: where each class is seen (class attention transfer).

    .. math:: \ell_b = mean_{chw} (A^s_{chw} - A^t_{chw})^2, \quad A_c = \langle w_c, F \rangle + b_c

    with A averaged down to ``size`` x ``size`` and, if ``normalize``, each class map divided by its norm. Class maps
    are what a linear classifier gives if it is applied to every position *before* the average pool: their mean is the
    logits, so networks need no change, only their classifiers. The student's learns from this loss too. Kind
    ``sample``. Published on the last map, with weight 1 on the labels (CIFAR-100): weight 0.7 to 15 with maps as they
    are between alike networks, and 15 to 600 with normalised ones between unlike networks (size 4 for ShuffleNets).
    The authors also study it alone, without labels, with ``binarize``, and with ``only`` some classes.

    Args:
        student: map, shape ``[N, C, H, W]``; class maps if there is no ``student_head``.
        teacher: map, shape ``[N, D, I, J]``, or class maps; no gradient reaches it or its classifier.
        student_head: the student's classifier.
        teacher_head: the teacher's classifier.
        size: side of the maps that are compared.
        normalize: whether only the form of a class map counts.
        keep_bias: whether the teacher's class maps contain its bias; the released code drops it.
        binarize: whether the teacher's maps, before they are averaged down, become 1 where they are above the mean of
            their absolute values and 0 elsewhere; the loss is not 0 at equality then.
        only: n > 0 compares the maps of the n classes that the teacher scores highest, n < 0 of the -n lowest, 0 of all
            (the released code takes one class less, or one more, than it is asked for).

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: for features that are not maps, classifiers of other widths, other numbers of classes, or ``only``
            more than there are.

    References:
        Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023, arXiv 2304.12777, equation 4.

    >>> corner, other = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    >>> corner[..., 0, 0], other[..., 1, 1] = 1.0, 5.0
    >>> cat(corner, 3 * corner), cat(corner, other), cat(corner, other, normalize=False)
    (tensor([0.]), tensor([0.5000]), tensor([6.5000]))
    """
    if size < 1:
        raise UsageError(f"cat: size must be at least 1, not {size}")
    student, teacher = full_precision(student, teacher.detach())
    ours = _class_maps("student", student, student_head, size, keep_bias=True, learns=True)
    seen = functools.partial(_class_maps, "teacher", teacher, teacher_head, keep_bias=keep_bias, learns=False)
    theirs = seen(size)
    same_shape("cat", ours, theirs, "both need the same classes: pass student_head= and teacher_head=")
    if binarize:
        whole = seen(None)  # [N, K, H W]
        high = (whole > whole.abs().mean(2, keepdim=True)).to(whole.dtype)
        theirs = F.adaptive_avg_pool2d(high.view(*high.shape[:2], *teacher.shape[2:]), size).flatten(2)
    if only:
        if abs(only) > theirs.shape[1]:
            raise UsageError(f"cat: only={only} asks for more than the {theirs.shape[1]} classes there are")
        chosen = seen(1).topk(abs(only), dim=1, largest=only > 0).indices  # [N, n, 1], by the teacher's logits
        ours, theirs = (maps.gather(1, chosen.expand(-1, -1, maps.shape[2])) for maps in (ours, theirs))
    if normalize:
        ours, theirs = unit(ours), unit(theirs)
    return squared_error(ours, theirs)


def _class_maps(
    name: str, features: Tensor, head: nn.Linear | None, size: int | None, *, keep_bias: bool, learns: bool
) -> Tensor:
    """One map per class, averaged down unless ``size`` is None, shape ``[N, K, size * size]``."""
    if features.ndim != 4:
        raise UsageError(f"cat: needs maps [N, C, H, W], got {list(features.shape)} of the {name}")
    pooled = features if size is None else F.adaptive_avg_pool2d(features, size)
    pooled = pooled.flatten(2)  # before the classifier, as both are linear: the order is free
    if head is None:
        return pooled
    if head.in_features != features.shape[1]:
        raise UsageError(
            f"cat: the {name}'s classifier reads {head.in_features} numbers, its map has {features.shape[1]} channels: "
            "name the map before its pool, with pair= or as an end of the edge"
        )
    weight: Tensor = head.weight
    bias: Tensor | None = head.bias if keep_bias else None
    if not learns:
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    with torch.autocast(pooled.device.type, enabled=False):
        return F.linear(pooled.mT, weight, bias).mT


INFO = (
    LossInfo(
        cat,
        reads="last_stage",
        kind="sample",
        weight=15.0,
        context=("student_head", "teacher_head"),
        summary="where in the image each class is seen",
        paper="Guo et al., CVPR 2023, arXiv 2304.12777",
    ),
)
