"""How far networks agree about which images are alike, and that in two dimensions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 10
SEED = 0
Vectors = Mapping[str, "Tensor"]
"""Network -> vectors of the same images, ``[N, D]``; the first is the student."""


def aligned(vectors: Vectors) -> dict[str, dict[str, float]]:
    """How a student's vectors agree with each teacher's.

    Returns:
        Teacher -> ``neighbours``, the share of each image's ten nearest that are the same for both, whatever their
        widths, and ``chance``, what it would be for unrelated ones; for equal widths also ``mmd``, see
        :func:`mentorch.losses.mmd`.
    """
    from mentorch.losses import mmd

    teachers, (own, *theirs) = list(vectors)[1:], vectors.values()
    found: dict[str, dict[str, float]] = {}
    k = min(NEIGHBOURS, len(own) - 2)
    for name, other in zip(teachers, theirs, strict=True):
        found[name] = {"neighbours": shared_neighbours(own, other, k), "chance": k / (len(own) - 1)}
        if own.shape == other.shape:
            found[name]["mmd"] = float(mmd(own, other))
    return found


def shared_neighbours(a: "Tensor", b: "Tensor", k: int) -> float:
    """The mean share of the k nearest neighbours, by angle, that an image has in both ``[N, D]`` and ``[N, E]``."""
    import torch

    near = []
    for x in (a, b):
        likeness = unit_rows(x) @ unit_rows(x).mT
        likeness.fill_diagonal_(-torch.inf)
        near.append(torch.zeros_like(likeness).scatter(1, likeness.topk(k).indices, 1.0))
    return float((near[0] * near[1]).sum() / (k * len(a)))


def project(vectors: "Tensor", how: Literal["pca", "tsne"]) -> "Tensor":
    """Vectors ``[N, D]`` in two dimensions ``[N, 2]``, the same every time; too few for t-SNE are shown by PCA."""
    import torch

    centred = vectors.double() - vectors.double().mean(0)
    if how == "pca" or len(vectors) < 12:
        _, _, axes = torch.linalg.svd(centred, full_matrices=False)
        axes = axes[:2] * axes[:2].sum(1, keepdim=True).sign()  # a singular vector may come with either sign
        plane = centred @ axes.mT
        return torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))
    from sklearn.manifold import TSNE

    method = TSNE(perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca", random_state=SEED)
    return torch.as_tensor(method.fit_transform(centred.numpy()))


def unit_rows(x: "Tensor") -> "Tensor":
    """Rows of length 1, float64."""
    import torch

    return torch.nn.functional.normalize(x.double(), dim=1)
