"""Gaussian Bhattacharyya coefficient."""

from typing import Literal

from torch import Tensor

from mentorch._errors import UsageError, unknown
from mentorch.transferability._checks import class_index, one_hot, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_FLOOR = 1e-6  # least variance of a class, as a share of that of all samples


def gbc(
    features: Tensor | Features,
    labels: Tensor,
    *,
    components: int = 64,
    covariance: Literal["spherical", "diagonal"] = "spherical",
    variant: Literal["paper", "released"] = "paper",
) -> Tensor:
    r"""How much the classes overlap, each taken as a Gaussian in the space of the leading principal components.

    .. math:: -\sum_{c \ne c'} \exp(-D_B(c, c')), \quad D_B = \tfrac{1}{8} \sum_d \frac{(\mu_d - \mu'_d)^2}{\bar v_d}
        + \tfrac{1}{2} \sum_d \log \frac{\bar v_d}{\sqrt{v_d v'_d}}, \quad \bar v = \frac{v + v'}{2}

    A variance is at least a millionth of the variance of all samples, so the score does not depend on the scale of the
    features. It saturates at 0, no overlap, and at -C (C - 1), all the same: it warns there.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        components: how many principal components; fewer where the features have fewer.
        covariance: one variance per class, or one per class and component.
        variant: ``released``: as in public code, the logarithm of spherical Gaussians counts once, not once per
            component. It changes the spherical form alone.

    Returns:
        Between -C (C - 1) and 0, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, a single class, or an unknown option.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Pandy et al., "Transferability Estimation using Bhattacharyya Class Separability", CVPR 2022,
        arXiv 2111.12780, equations 2 to 4.

    >>> import torch
    >>> x, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> gbc(x, labels)  # twice exp(-4)
    tensor(-0.0366, dtype=torch.float64)
    """
    if covariance not in ("spherical", "diagonal"):
        raise unknown("covariance of gbc", covariance, ("spherical", "diagonal"))
    if variant not in ("paper", "released"):
        raise unknown("variant of gbc", variant, ("paper", "released"))
    if components < 1:
        raise UsageError(f"gbc: components must be at least 1, not {components}")
    features = Features.of(features).centred
    index, sizes = class_index("gbc", labels, features.count)
    if int(sizes.min()) < 2:
        warn(f"gbc: {int((sizes < 2).sum())} of {len(sizes)} classes have a single sample and so no variance")
    means, variances = _gaussians(features.coordinates[:, :components], index, sizes)
    if covariance == "spherical":
        variances = variances.mean(1, keepdim=True)  # [C, 1]
    middle = (variances[:, None] + variances) / 2  # [C, C, d or 1]
    apart = ((means[:, None] - means).square() / middle).sum(2) / 8
    shape = (middle.log() - (variances[:, None].log() + variances.log()) / 2).sum(2) / 2
    if covariance == "spherical" and variant == "paper":
        shape = shape * means.shape[1]
    overlap = (-apart - shape).exp().fill_diagonal_(0).sum()
    worst = len(sizes) * (len(sizes) - 1)
    if overlap < 1e-9 or overlap > worst * (1 - 1e-9):
        warn(f"gbc: saturated at {-overlap:.3g} of [{-worst}, 0]: it cannot rank this network among its like")
    return -overlap


def _gaussians(x: Tensor, index: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divisor n - 1) of each class along each component, both ``[C, d]``."""
    indicators, counts = one_hot(index, len(sizes)), sizes.double()[:, None]
    means = indicators.mT @ x / counts
    squares = indicators.mT @ (x - means[index]).square()
    floor = _FLOOR * x.square().sum(0).mean() / (len(x) - 1)
    return means, (squares / (counts - 1).clamp(min=1)).clamp(min=floor)


INFO = (
    ScoreInfo(
        gbc,
        needs=("features", "labels"),
        range="[-C (C - 1), 0]",
        summary="overlap of the classes as Gaussians",
        paper="Pandy et al., CVPR 2022, arXiv 2111.12780",
        invariances=("scale", "shift", "rotation", "names"),
        uninformative="no two classes overlap, or all do",
    ),
)
