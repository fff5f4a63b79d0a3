"""Log expected empirical prediction."""

import torch
from torch import Tensor

from mentorch.transferability._checks import distributions, one_hot, warn
from mentorch.transferability._info import ScoreInfo


def leep(probabilities: Tensor, labels: Tensor) -> Tensor:
    r"""How well the source's classes, as they are, name the target's.

    .. math:: \frac{1}{N} \sum_i \log \sum_z \hat P(y_i | z) \theta_{iz}, \quad
        \hat P(y | z) = \frac{\sum_{i: y_i = y} \theta_{iz}}{\sum_i \theta_{iz}}

    Args:
        probabilities: of the source's classes :math:`\theta`, shape ``[N, S]``; logits are refused.
        labels: target classes, integers, shape ``[N]``.

    Returns:
        Between -ln C and 0, higher is better; a float64 scalar. Constant probabilities give the negative entropy of
        the labels.

    Raises:
        UsageError: for logits, shapes that do not fit, or a single target class.

    References:
        Nguyen et al., "LEEP: A New Measure to Evaluate Transferability of Learned Representations", ICML 2020,
        arXiv 2002.12462, equations 1 and 2.

    >>> leep(torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])).item()
    0.0
    """
    theta, index, sizes = distributions("leep", probabilities, labels)
    if bool(((theta - theta[0]).abs() < 1e-6).all()):
        warn("leep: the source says the same of all samples")
    return expected_prediction(theta, index, len(sizes))


def expected_prediction(theta: Tensor, index: Tensor, classes: int) -> Tensor:
    """The formula, for any assignment ``[N, S]`` of samples to source classes; classes that nobody names are empty."""
    mass = theta.sum(0)
    joint = one_hot(index, classes).mT @ theta  # [C, S]
    conditional = joint / torch.where(mass > 0, mass, 1.0)
    return (conditional[index] * theta).sum(1).log().mean()


INFO = (
    ScoreInfo(
        leep,
        needs=("probabilities", "labels"),
        range="[-ln C, 0]",
        summary="likelihood of the labels given the source's class probabilities",
        paper="Nguyen et al., ICML 2020, arXiv 2002.12462",
        invariances=("names",),
        uninformative="the source says the same of all samples",
    ),
)
