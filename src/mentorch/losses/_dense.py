"""Losses of depth and surface normals, over the pixels where they are known; one value per image."""

import math

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import constant, full_precision, same_shape, unit

_HINT = "both need one value per pixel, at one size"


def depth_l1(student: Tensor, depth: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean absolute error of depth.

    .. math:: \ell_b = \frac{1}{n_b} \sum_{p \text{ valid}} |s_{bp} - d_{bp}|

    Kind ``sample``. A pixel is valid if its depth is positive and finite, and it is not masked.

    Args:
        student: metres, shape ``[N, 1, H, W]``.
        depth: of the labels, 0 where unknown, or of a teacher; same shape; no gradient reaches it.
        mask: pixels that may count, any dtype, not 0, same shape; all, if not given.

    Returns:
        One value per image, shape ``[N]``; 0 for an image without a valid pixel.

    Raises:
        UsageError: if shapes differ.

    >>> depth_l1(torch.tensor([[[[2.0, 7.0]]]]), torch.tensor([[[[3.0, 0.0]]]]))
    tensor([1.])
    """
    difference, valid = _difference("depth_l1", student, depth, mask)
    return _mean(difference.abs(), valid)


def depth_l2(student: Tensor, depth: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean squared error of depth.

    .. math:: \ell_b = \frac{1}{n_b} \sum_{p \text{ valid}} (s_{bp} - d_{bp})^2

    Kind ``sample``. Arguments, result and errors are those of :func:`depth_l1`.

    >>> depth_l2(torch.tensor([[[[1.0, 7.0]]]]), torch.tensor([[[[3.0, 0.0]]]]))
    tensor([4.])
    """
    difference, valid = _difference("depth_l2", student, depth, mask)
    return _mean(difference.square(), valid)


def berhu(student: Tensor, depth: Tensor, mask: Tensor | None = None, *, share: float = 0.2) -> Tensor:
    r"""The reverse Huber loss of depth: absolute for small errors, squared for large ones.

    .. math:: B(x) = |x| \text{ for } |x| \le c, \quad \frac{x^2 + c^2}{2 c} \text{ beyond}, \qquad
        c = 0.2 \max_{i \in batch} |x_i|

    Kind ``row``: c depends on all images of the batch (of this process); no gradient flows through it. Arguments,
    result and errors are those of :func:`depth_l1`.

    Args:
        share: c as a share of the largest error in the batch, positive.

    References:
        Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016, arXiv 1606.00373,
        equation 2.

    >>> berhu(torch.tensor([[[[1.0, 6.0]]]]), torch.tensor([[[[1.5, 1.0]]]]))  # c = 1: (0.5 + (25 + 1) / 2) / 2
    tensor([6.7500])
    """
    if share <= 0:
        raise UsageError(f"berhu: share must be positive, not {share}")
    difference, valid = _difference("berhu", student, depth, mask)
    error = difference.abs()
    limit = share * (error.detach() * valid).amax()
    limit = torch.where(limit > 0, limit, 1.0)  # without an error, all is on the absolute side
    return _mean(torch.where(error <= limit, error, (error.square() + limit.square()) / (2 * limit)), valid)


def scale_invariant(
    student: Tensor, depth: Tensor, mask: Tensor | None = None, *, weight: float = 0.5, log: bool = False
) -> Tensor:
    r"""Error of log depth of which a part, the global factor, is forgiven.

    .. math:: \ell_b = \frac{1}{n} \sum_p d_p^2 - \frac{\lambda}{n^2} \Big(\sum_p d_p\Big)^2, \quad
        d = \ln s - \ln depth

    Kind ``sample``. Arguments, result and errors are those of :func:`depth_l1`.

    Args:
        weight: lambda in [0, 1]; 0 is the squared error of logarithms, 1 does not see a global factor.
        log: the student says the logarithm of depth; otherwise depth, which is raised to a millimetre where it is
            less, and then gets no gradient: let it end in something positive.

    References:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014, arXiv
        1406.2283, equation 4.

    >>> truth = torch.tensor([[[[1.0, 2.0]]]])
    >>> scale_invariant(3 * truth, truth, weight=1.0).abs() < 1e-6
    tensor([True])
    """
    if not 0 <= weight <= 1:
        raise UsageError(f"scale_invariant: weight must lie in [0, 1], not {weight}")
    same_shape("scale_invariant", student, depth, _HINT)
    student, depth = full_precision(student, constant(depth))
    valid = _valid(depth, mask)
    said = torch.where(valid, student, 0.0 if log else 1.0)
    d = (said if log else said.clamp(min=1e-3).log()) - torch.where(valid, depth, 1.0).log()
    return _mean(d.square(), valid) - weight * _mean(d, valid).square()


def normal_cosine(student: Tensor, normals: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""One minus the cosine between surface normals.

    .. math:: \ell_b = \frac{1}{n_b} \sum_{p \text{ valid}} (1 - \cos(s_{bp}, n_{bp}))

    which is the published negative product plus one. Kind ``sample``. A pixel is valid unless its normal is the zero
    vector, or it is masked.

    Args:
        student: vectors of any length, shape ``[N, 3, H, W]``.
        normals: of the labels, zero where unknown, or of a teacher, any length; same shape; no gradient reaches it.
        mask: pixels that may count, any dtype, not 0, shape ``[N, 1, H, W]``; all, if not given.

    Returns:
        One value per image in [0, 2], shape ``[N]``; 0 for an image without a valid pixel.

    Raises:
        UsageError: if shapes differ.

    References:
        Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
        Convolutional Architecture", ICCV 2015, arXiv 1411.4734, equation 2.

    >>> right, down = torch.eye(3)[:2].view(2, 1, 3, 1, 1)
    >>> normal_cosine(2 * right, right), normal_cosine(right, down)
    (tensor([0.]), tensor([1.]))
    """
    same_shape("normal_cosine", student, normals, "both need a vector per pixel, at one size")
    student, normals = full_precision(student, constant(normals))
    known = normals.isfinite().all(1, keepdim=True)
    truth = unit(torch.where(known, normals, 0.0), dim=1)
    valid = known & (truth != 0).any(1, keepdim=True)
    valid = valid if mask is None else valid & (mask != 0)
    cosine = (unit(torch.where(valid, student, 0.0), dim=1) * truth).sum(1, keepdim=True)
    diverged = student.isnan().any(1, keepdim=True)  # which a vector of unit length would hide
    return _mean(torch.where(diverged, math.nan, 1 - cosine), valid)


def _difference(name: str, student: Tensor, depth: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The error at valid pixels, 0 elsewhere whatever stands there, and which are valid."""
    same_shape(name, student, depth, _HINT)
    student, depth = full_precision(student, constant(depth))
    valid = _valid(depth, mask)
    return torch.where(valid, student, 0.0) - torch.where(valid, depth, 0.0), valid


def _valid(depth: Tensor, mask: Tensor | None) -> Tensor:
    valid = depth.isfinite() & (depth > 0)
    return valid if mask is None else valid & (mask != 0)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels of each image, shape ``[N]``."""
    counted = valid.flatten(1).sum(1).clamp(min=1)
    return torch.where(valid, values, 0.0).flatten(1).sum(1) / counted
