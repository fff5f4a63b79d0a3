"""Transfer rate: mutual information of features and labels by coding length."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import class_index, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo


def transrate(features: Tensor | Features, labels: Tensor, *, distortion: float = 1e-4) -> Tensor:
    r"""How much shorter the features can be coded when the classes are known.

    .. math:: R(F) - \frac{1}{C} \sum_c R(F_c), \quad
        R(Z) = \tfrac{1}{2} \log \det \left( I + \frac{1}{n \epsilon} Z^\top Z \right)

    with n the rows of Z, F centred over all samples, and the classes weighted equally, as published. It depends on the
    scale of the features, and where classes have no more samples than dimensions it measures D: it warns.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        distortion: :math:`\epsilon`, above 0.

    Returns:
        Higher is better, not bounded; at least 0 for classes of one size. A float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, a single class, or a distortion that is not positive.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Huang et al., "Frustratingly Easy Transferability Estimation", ICML 2022, arXiv 2106.09362, equation 5.

    >>> x, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> transrate(x, labels), transrate(x, labels.flip(0)) == transrate(x, labels)
    (tensor(0., dtype=torch.float64), tensor(True))
    """
    if not distortion > 0:
        raise UsageError(f"transrate: distortion must be positive, not {distortion}")
    features = Features.of(features).centred
    index, sizes = class_index("transrate", labels, features.count)
    small = int(sizes.min())
    if small <= features.size:
        warn(
            f"transrate: the smallest class has {small} samples for {features.size} dimensions: "
            "the value grows with the dimensions, not with what they tell"
        )
    whole = torch.log1p(features.squares / (features.count * distortion)).sum() / 2
    rows = features.coordinates if features.count <= features.size else features.x
    parts = [_rate(rows[index == c], distortion) for c in range(len(sizes))]
    return whole - torch.stack(parts).mean()


def _rate(rows: Tensor, distortion: float) -> Tensor:
    """Coding rate of rows ``[n, d]``, from the smaller of its two Gram matrices."""
    gram = rows.mT @ rows if len(rows) > rows.shape[1] else rows @ rows.mT
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    rate: Tensor = torch.linalg.slogdet(identity + gram / (len(rows) * distortion)).logabsdet / 2
    return rate


INFO = (
    ScoreInfo(
        transrate,
        needs=("features", "labels"),
        range="unbounded; at least 0 for classes of one size",
        summary="coding length that the labels save",
        paper="Huang et al., ICML 2022, arXiv 2106.09362",
        invariances=("shift", "rotation", "names"),
        uninformative="a class has no more samples than dimensions",
    ),
)
