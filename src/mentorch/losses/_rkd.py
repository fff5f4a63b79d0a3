"""Relational knowledge distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision, gathered, own_rows, products
from mentorch.losses._info import LossInfo


def rkd(
    student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0, gather: bool = True
) -> dict[str, Tensor]:
    r"""Differences of the distances between pairs and of the angles in triples of samples (relational distillation).

    .. math:: \ell^D_i = \frac{1}{B} \sum_j h(D^s_{ij} - D^t_{ij}), \quad
        \ell^A_i = \frac{1}{B^2} \sum_{jk} h(A^s_{ijk} - A^t_{ijk})

    with D the distances divided by their mean over pairs, A the cosine of the angle at i between j and k, and h the
    smooth L1 function (Huber, threshold 1). Triples that are no triangle (two of i, j, k the same) add nothing, but
    are counted in the mean, as published. Pairs closer than rounding can tell count as one point, without gradient.
    Kind ``row``. Published weights: 25 for distances, 50 for angles, the embedding (CIFAR-100); they are the defaults
    here, so the published weight of the sum is 1.

    Args:
        student: embeddings, shape ``[N, D]`` (more axes are flattened).
        teacher: embeddings, shape ``[N, E]``; no gradient reaches them.
        distance: weight of the distances; 0 leaves them out.
        angle: weight of the angles; 0 leaves them out. Their memory grows with the third power of the batch.
        gather: whether B counts the samples of all processes in distributed training; each gets its own anchors.

    Returns:
        ``distance`` and ``angle``: one value per anchor each, at least 0, shape ``[N]``.

    Raises:
        UsageError: for one sample alone, other batch sizes, or both weights 0.

    References:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068, equations 5 to 9.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    >>> {name: round(value.mean().item(), 4) for name, value in rkd(student, teacher).items()}
    {'distance': 1.062, 'angle': 1.8289}
    """
    if distance == 0 and angle == 0:
        raise UsageError("rkd: distance and angle are both 0: nothing is left to compare")
    if len(student) != len(teacher):
        raise UsageError(f"rkd: needs one batch, got {len(student)} and {len(teacher)} samples")
    count = len(student)
    student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
    if gather:
        student, teacher = gathered(student), gathered(teacher)
    if len(student) < 2:
        raise UsageError("rkd: compares the samples of a batch, so it needs 2 or more, got 1: drop that batch")
    relations = [_relations(features) for features in (student, teacher)]  # of all with all
    terms: dict[str, Tensor] = {}
    if distance != 0:
        ours, theirs = (_own(_over_mean(distances), count, gather) for _, distances in relations)  # [N, B]
        terms["distance"] = distance * F.smooth_l1_loss(ours, theirs, reduction="none").mean(1)
    if angle != 0:
        ours, theirs = (_angles(*relation, count, gather) for relation in relations)  # [N, B, B]
        terms["angle"] = angle * F.smooth_l1_loss(ours, theirs, reduction="none").mean((1, 2))
    return terms


def _relations(features: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the centred rows, and from them their distances, both of shape ``[B, B]``."""
    centred = features - features.mean(0)  # what follows depends on neither origin nor unit; rounding and range do
    size = centred.abs().amax().detach()
    centred = centred / torch.where(size > 0, size, 1.0)
    gram = products(centred, centred)
    squares = gram.diagonal()
    total = squares[:, None] + squares[None, :]
    ok = total - 2 * gram > 64 * torch.finfo(gram.dtype).eps * total
    distances = torch.where(ok, torch.where(ok, total - 2 * gram, 1.0).sqrt(), 0.0)
    return gram, distances


def _over_mean(distances: Tensor) -> Tensor:
    """Distances in units of their mean over pairs; all zero stays zero."""
    mean = distances.sum() / (len(distances) * (len(distances) - 1))
    return distances / torch.where(mean > 0, mean, 1.0)


def _angles(gram: Tensor, distances: Tensor, count: int, gather: bool) -> Tensor:
    """Cosine of the angle at own anchor i between j and k, shape ``[N, B, B]``; 0 where one of them lies on i."""
    at, corner, sides = (_own(x, count, gather) for x in (gram, gram.diagonal(), distances))
    inverse = torch.where(sides > 0, 1 / torch.where(sides > 0, sides, 1.0), 0.0)
    inner = gram - at[:, :, None] - at[:, None, :] + corner[:, None, None]
    return inner * inverse[:, :, None] * inverse[:, None, :]


def _own(x: Tensor, count: int, gather: bool) -> Tensor:
    return own_rows(x, count) if gather else x


INFO = (
    LossInfo(
        rkd,
        reads="embedding",
        kind="row",
        weight=1.0,
        summary="distances between pairs and angles in triples of samples",
        paper="Park et al., CVPR 2019, arXiv 1904.05068",
    ),
)
