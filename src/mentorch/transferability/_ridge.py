"""Ridge regression, each sample left out in turn."""

import torch
from torch import Tensor

from mentorch.transferability._checks import class_index, one_hot, warn_lonely
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_DECADES = 6  # of penalties around the mean squared singular value, either way


def ridge(features: Tensor | Features, labels: Tensor) -> Tensor:
    r"""Share of samples whose class a ridge regression on all other samples names.

    Indicators of the classes are regressed on the features, with intercept. The prediction without sample i needs no
    second fit:

    .. math:: y_i - \frac{y_i - \hat y_i}{1 - h_i}, \quad h_i = \frac{1}{N} + \sum_j \frac{\sigma_j}{\sigma_j + \lambda}
        u_{ij}^2

    Of 13 penalties :math:`\lambda`, a decade apart, the one with the least leave-one-out squared error counts.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.

    Returns:
        Between 0 and 1, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, or a single class.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Allen, "The Relationship between Variable Selection and Data Augmentation and a Method for Prediction",
        Technometrics 1974 (the leave-one-out formula).

    >>> ridge(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
    tensor(1., dtype=torch.float64)
    """
    features = Features.of(features).centred
    index, sizes = class_index("ridge", labels, features.count)
    warn_lonely("ridge", sizes)
    targets = one_hot(index, len(sizes))
    along, leverages = features.project(targets), features.left.square()
    best, prediction = torch.inf, targets
    for power in range(-_DECADES, _DECADES + 1):
        damping = features.squares / (features.squares + features.squares.mean() * 10.0**power)
        fitted = targets.mean(0) + features.left @ (damping[:, None] * along)
        free = (1 - 1 / features.count - leverages @ damping).clamp(min=1e-9)
        residual = (targets - fitted) / free[:, None]
        error = float(residual.square().sum())
        if error < best:
            best, prediction = error, targets - residual
    return (prediction.argmax(1) == index).double().mean()


INFO = (
    ScoreInfo(
        ridge,
        needs=("features", "labels"),
        range="[0, 1]",
        summary="leave-one-out accuracy of ridge regression",
        paper="leave-one-out formula of Allen, Technometrics 1974",
        invariances=("scale", "shift", "rotation", "names"),
        uninformative="classes have a single sample",
    ),
)
