"""LEEP on clusters of the features."""

import warnings

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability._checks import class_index, warn
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._leep import expected_prediction


def nleep(
    features: Tensor | Features,
    labels: Tensor,
    *,
    energy: float = 0.8,
    components: int | None = None,
    seed: int = 0,
) -> Tensor:
    """How well clusters of the features name the target's classes: LEEP with a Gaussian mixture as the source's head.

    Principal components that keep ``energy`` of the variance, a mixture of Gaussians on them, and the formula of
    :func:`leep` with the probabilities of the clusters. For networks without classes of their own. The mixture
    (scikit-learn, on the CPU) starts from a random state: scores of other seeds differ.

    Args:
        features: shape ``[N, D]``.
        labels: classes, integers, shape ``[N]``.
        energy: share of the variance to keep, in (0, 1].
        components: Gaussians; published: 5 per class.
        seed: of the mixture's start.

    Returns:
        Between -ln C and 0, higher is better; a float64 scalar.

    Raises:
        UsageError: for shapes that do not fit, a single class, or more Gaussians than samples.
        RunError: if a feature is not finite, all samples have the same features, or the mixture cannot be fitted.

    References:
        Li et al., "Ranking Neural Checkpoints", CVPR 2021, arXiv 2011.11200, section 3.

    >>> x = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> round(nleep(x, torch.tensor([0, 0, 1, 1]), components=2).item(), 6)
    0.0
    """
    if not 0 < energy <= 1:
        raise UsageError(f"nleep: energy must be in (0, 1], not {energy}")
    features = Features.of(features).centred
    index, sizes = class_index("nleep", labels, features.count)
    components = 5 * len(sizes) if components is None else components
    if not 1 <= components <= features.count:
        raise UsageError(f"nleep: {components} Gaussians need as many samples, got {features.count}: set components=")
    share = features.squares.cumsum(0) / features.squares.sum()
    kept = int((share < energy - 1e-12).sum()) + 1
    x = features.coordinates[:, :kept] / (features.squares.sum() / features.count).sqrt()
    return expected_prediction(_clusters(x, components, seed), index, len(sizes))


def _clusters(x: Tensor, components: int, seed: int) -> Tensor:
    """Probabilities of the Gaussians, shape ``[N, components]``."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:  # said below, in this package's own category
        warnings.simplefilter("always")
        try:
            found = mixture.fit(x.cpu().numpy()).predict_proba(x.cpu().numpy())
        except ValueError as error:
            raise RunError(f"nleep: no mixture of {components} Gaussians on {len(x)} samples: {error}") from error
    if caught:
        warn(f"nleep: the mixture of {components} Gaussians is not to be trusted: {caught[0].message}")
    return torch.as_tensor(found, dtype=torch.float64, device=x.device)


INFO = (
    ScoreInfo(
        nleep,
        needs=("features", "labels"),
        range="[-ln C, 0]",
        summary="LEEP with clusters of the features as source classes",
        paper="Li et al., CVPR 2021, arXiv 2011.11200",
        invariances=("scale", "names"),
        uninformative="the mixture has not converged, or has more Gaussians than there are distinct samples",
    ),
)
