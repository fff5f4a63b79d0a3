"""Where each network is drawn: one map per share of the edges, each near the one before."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mentorch.transferability._atlas._groups import distance
from mentorch.transferability._atlas._neighbours import SHARES, Neighbours, mixture, parts
from mentorch.transferability._embedding import Embeddings

_LANDMARKS = 256
_FEW, _MANY = 8, 5000
_PERPLEXITY = 15.0
_GAP, _PUSHES = 0.9, 40  # between two of M networks, as a multiple of 1 / sqrt(M); how often they are pushed
_START = 2  # of the shares: the one in the middle


def layout(table: Embeddings, rows: Tensor, near: Neighbours) -> Mapping[float, Tensor]:
    """Positions ``[M, 2]`` for each of :data:`SHARES`, centred, with a mean square radius of one.

    The map in the middle is t-SNE of the distances to the neighbours that were kept, and starts from principal
    components of the similarities to up to 256 of the networks; every other one starts from the next towards the
    middle, and is turned to meet it: moving from share to share, networks move only as far as their similarities do.
    With fewer than 8 networks, or more than 5,000, the principal components are the map.

    References:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    maps: dict[float, Tensor] = {}
    for i in sorted(range(len(SHARES)), key=lambda i: abs(i - _START)):
        at = SHARES[i]
        before = maps.get(SHARES[i + 1] if i < _START else SHARES[i - 1])
        plain = not _FEW <= len(rows) <= _MANY
        start = _components(table, rows, at) if before is None or plain else before
        drawn = start if plain else _embed(near, start, at, fresh=before is None)
        maps[at] = _spread(_wide(_unit(drawn)) if before is None else _turned(_unit(drawn), before))
    return {at: maps[at] for at in SHARES}


def _components(table: Embeddings, rows: Tensor, at: float) -> Tensor:
    """Principal components of the similarities to landmarks, ``[M, 2]``."""
    landmarks = rows[:: max(1, len(rows) // _LANDMARKS)][:_LANDMARKS]
    found = torch.cat([mixture(nodes, edges, at) for _, nodes, edges in parts(table, rows, landmarks)]).double()
    found = found - found.mean(0)
    _, vectors = torch.linalg.eigh(found.mT @ found)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # no sign is left to the library
    plane = found @ axes
    return torch.cat([plane, plane.new_zeros(len(plane), 2 - plane.shape[1])], dim=1)


def _embed(near: Neighbours, start: Tensor, at: float, *, fresh: bool) -> Tensor:
    """t-SNE of the graph of distances to the kept neighbours."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.manifold import TSNE

    count, kept = near.index.shape
    lengths = distance(mixture(near.nodes, near.edges, at)).clamp(min=1e-6)  # a stored zero would be no neighbour
    near_first = lengths.argsort(dim=1)
    pointers = np.arange(0, count * kept + 1, kept)
    values = (part.gather(1, near_first).flatten().numpy() for part in (lengths.double(), near.index))
    graph = csr_matrix((*values, pointers), shape=(count, count))
    perplexity = min(_PERPLEXITY, (kept - 1) / 3.5)
    model = TSNE(
        metric="precomputed",
        perplexity=perplexity,
        init=(start / start.std() * (1e-2 if fresh else 1)).float().numpy(),
        early_exaggeration=12.0 if fresh else 1.0,
        max_iter=750 if fresh else 500,
        random_state=0,
    )
    return torch.from_numpy(model.fit_transform(graph)).double()


def _spread(plane: Tensor) -> Tensor:
    """Points that would be drawn over each other are pushed apart, a little each time."""
    from scipy.spatial import cKDTree

    gap = _GAP / len(plane) ** 0.5
    for _ in range(_PUSHES):
        pairs = torch.from_numpy(cKDTree(plane.numpy()).query_pairs(gap, output_type="ndarray"))
        if not len(pairs):
            break
        apart = plane[pairs[:, 0]] - plane[pairs[:, 1]]
        length = apart.norm(dim=1, keepdim=True)
        turn = (pairs.sum(1) * 2.4).double()  # equal places are left in some direction, the same every time
        apart = torch.where(length > 1e-9, apart / length.clamp(min=1e-9), torch.stack([turn.cos(), turn.sin()], dim=1))
        push = apart * (gap - length).clamp(max=gap) * 0.25
        plane = plane.index_add(0, pairs[:, 0], push).index_add(0, pairs[:, 1], -push)
    return plane


def _turned(plane: Tensor, towards: Tensor) -> Tensor:
    """Rotated, or mirrored, to be nearest to another map of the same networks."""
    left, _, right = torch.linalg.svd(plane.mT @ towards)
    turned: Tensor = plane @ (left @ right)
    return turned


def _wide(plane: Tensor) -> Tensor:
    """Turned so that it extends most from left to right."""
    _, vectors = torch.linalg.eigh(plane.mT @ plane)
    turned: Tensor = plane @ vectors.flip(1)
    return turned


def _unit(plane: Tensor) -> Tensor:
    plane = plane - plane.mean(0)
    return plane / plane.square().sum(1).mean().sqrt().clamp(min=1e-12)
