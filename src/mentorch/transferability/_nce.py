"""Negative conditional entropy."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import check_finite, class_index, warn
from mentorch.transferability._info import ScoreInfo


def nce(probabilities: Tensor, labels: Tensor) -> Tensor:
    r"""How much the source's predicted class tells of the target's class.

    .. math:: -H(Y | Z) = \sum_{y, z} \hat p(y, z) \log \frac{\hat p(y, z)}{\hat p(z)}, \;
        z_i = \arg\max_s \theta_{is}

    With about as many predicted source classes as samples it tends to 0 whatever the source: it warns then.

    Args:
        probabilities: of the source's classes, or logits, shape ``[N, S]``; or the predicted classes, integers ``[N]``.
        labels: target classes, integers, shape ``[N]``.

    Returns:
        Between -ln C and 0, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, or a single target class.
        RunError: if a probability is not finite.

    References:
        Tran, Nguyen, Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019,
        arXiv 1908.08142, equation 5.

    >>> nce(torch.tensor([7, 7, 2, 2]), torch.tensor([0, 1, 0, 1]))
    tensor(-0.6931, dtype=torch.float64)
    """
    if probabilities.ndim == 2:
        check_finite("nce: probabilities", probabilities)
        probabilities = probabilities.argmax(1)
    elif probabilities.ndim != 1 or probabilities.is_floating_point():
        raise UsageError(f"nce: needs probabilities [N, S] or predicted classes [N], got {list(probabilities.shape)}")
    index, sizes = class_index("nce", labels, len(probabilities))
    seen, source = torch.unique(probabilities, return_inverse=True)
    if 2 * len(seen) > len(index):
        warn(f"nce: {len(seen)} predicted source classes for {len(index)} samples: too few samples of each")
    if len(seen) == 1:
        warn("nce: the source predicts the same class for all samples")
    pairs = torch.bincount(index * len(seen) + source, minlength=len(sizes) * len(seen))
    joint = pairs.double().reshape(len(sizes), len(seen))  # [C, S], counts
    information: Tensor = torch.special.xlogy(joint, joint / joint.sum(0)).sum()
    return information / len(index)


INFO = (
    ScoreInfo(
        nce,
        needs=("probabilities", "labels"),
        range="[-ln C, 0]",
        summary="negative entropy of the labels given the source's predicted class",
        paper="Tran et al., ICCV 2019, arXiv 1908.08142",
        invariances=("names",),
        uninformative="few samples per predicted source class, or one such class",
    ),
)
