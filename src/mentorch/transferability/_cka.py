"""Centred kernel alignment."""

from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo


def cka(features: Tensor | Features, reference: Tensor | Features, *, debiased: bool = True) -> Tensor:
    r"""How alike two networks relate samples to each other, by inner products.

    .. math:: \frac{\langle K, L \rangle}{\|K\| \|L\|}, \quad K = F F^\top, \; L = G G^\top, \text{ centred}

    The plain form tends to 1 for unrelated features where there are more dimensions than samples; the debiased one
    leaves out the diagonal and is about 0 then.

    Args:
        features: of the candidate, shape ``[N, D]``.
        reference: of a network that is good at the target, on the same samples, shape ``[N, D']``.
        debiased: centre as an unbiased estimate of the independence criterion; needs 4 samples or more.

    Returns:
        At most 1, which features reach with themselves, rotated, shifted or scaled; at least 0, if debiased a little
        less; higher is better; a float64 scalar.

    Raises:
        UsageError: for other numbers of samples, or too few.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, arXiv 1905.00414,
        section 3; Nguyen, Raghu, Kornblith, ICLR 2021, arXiv 2010.15327, equation 3 (debiased).

    >>> import torch
    >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0], [4.0, 4.0]])
    >>> round(cka(x, 3 - 2 * x.flip(1)).item(), 6)
    1.0
    """
    features, reference = Features.of(features).centred, Features.of(reference).centred
    if features.count != reference.count:
        raise UsageError(f"cka: {features.count} samples of the candidate, {reference.count} of the reference")
    if debiased and features.count < 4:
        raise UsageError(f"cka: the debiased form needs 4 samples or more, got {features.count}")
    first, second = (_kernel(x.x, debiased) for x in (features, reference))
    alignment: Tensor = (first * second).sum() / (first.norm() * second.norm())
    return alignment


def _kernel(x: Tensor, debiased: bool) -> Tensor:
    """Inner products of centred rows, shape ``[N, N]``; if debiased, without the diagonal and centred anew."""
    x = x / x.abs().max()
    kernel = x @ x.mT
    if not debiased:
        return kernel
    count = len(kernel)
    kernel = kernel.fill_diagonal_(0)
    means = kernel.sum(0) / (count - 2)
    means = means - means.sum() / (2 * (count - 1))
    return (kernel - means - means[:, None]).fill_diagonal_(0)


INFO = (
    ScoreInfo(
        cka,
        needs=("features", "reference"),
        range="[0, 1]; debiased, slightly negative at times",
        summary="alignment of inner products with those of a reference",
        paper="Kornblith et al., ICML 2019, arXiv 1905.00414",
        invariances=("scale", "shift", "rotation"),
    ),
)
