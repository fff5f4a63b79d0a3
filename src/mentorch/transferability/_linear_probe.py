"""A linear classifier, cross-validated."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._checks import class_index, warn_lonely
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo

_ITERATIONS = 200


def linear_probe(features: Tensor | Features, labels: Tensor, *, folds: int = 5, weight_decay: float = 1e-3) -> Tensor:
    """Accuracy of multinomial logistic regression on samples that it was not fitted to.

    The samples of each class are dealt out to the folds in turn, so every fold has its share of every class and nothing
    is random. Features are centred and divided by their root mean square; L-BFGS minimises the mean cross-entropy plus
    half of ``weight_decay`` times the squared weights.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        folds: 2 to N.
        weight_decay: above 0, so that there is one best classifier.

    Returns:
        Between 0 and 1, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, a single class, or an option out of range.
        RunError: if a feature is not finite, or all samples have the same features.

    References:
        Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016, arXiv 1610.01644.

    >>> linear_probe(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]), folds=2)
    tensor(1., dtype=torch.float64)
    """
    features = Features.of(features).centred
    index, sizes = class_index("linear_probe", labels, features.count)
    if not 2 <= folds <= features.count:
        raise UsageError(f"linear_probe: folds must be between 2 and the {features.count} samples, not {folds}")
    if not weight_decay > 0:
        raise UsageError(f"linear_probe: weight_decay must be positive, not {weight_decay}")
    warn_lonely("linear_probe", sizes)
    x = features.x if features.count > features.size else features.coordinates
    x = x / (features.squares.sum() / (features.count * features.size)).sqrt()
    fold = _deal(index, folds)
    right = torch.zeros_like(index, dtype=torch.bool)
    for held in range(folds):
        test = fold == held
        weight, bias = _fit(x[~test], index[~test], len(sizes), weight_decay)
        right[test] = (x[test] @ weight + bias).argmax(1) == index[test]
    return right.double().mean()


def _deal(index: Tensor, folds: int) -> Tensor:
    """A fold for each sample: samples sorted by class, dealt out in turn, class after class."""
    fold = torch.empty_like(index)
    fold[index.argsort(stable=True)] = torch.arange(len(index), device=index.device) % folds
    return fold


def _fit(x: Tensor, index: Tensor, classes: int, weight_decay: float) -> tuple[Tensor, Tensor]:
    """Weights ``[d, C]`` and biases ``[C]`` of the best classifier."""
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-4, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, index) + weight_decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


INFO = (
    ScoreInfo(
        linear_probe,
        needs=("features", "labels"),
        range="[0, 1]",
        summary="cross-validated accuracy of a linear classifier",
        paper="Alain, Bengio, 2016, arXiv 1610.01644",
        invariances=("scale", "shift", "rotation", "names"),
        uninformative="classes have a single sample",
    ),
)
