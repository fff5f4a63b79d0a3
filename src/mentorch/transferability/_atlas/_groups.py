"""What belongs together in a zoo: communities of its graph, and a tree of all its networks."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mentorch.transferability._atlas._neighbours import Neighbours, mixture, parts, share
from mentorch.transferability._embedding import Embeddings


def communities(near: Neighbours, *, weight: float = 1.0) -> list[int]:
    """A community for each network, numbered by size, the largest first; the same every time.

    Two networks are joined if one is among the nearest of the other, as strongly as they are similar; the communities
    maximise modularity, found by the method of Louvain.

    Args:
        near: the k nearest of each.
        weight: of the edges.

    References:
        Blondel et al., "Fast unfolding of communities in large networks", J. Stat. Mech. 2008, arXiv 0803.0476.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(near)))
    strength = (1 + mixture(near.nodes, near.edges, share(weight))) / 2
    for i, (places, values) in enumerate(zip(near.index.tolist(), strength.tolist(), strict=True)):
        graph.add_weighted_edges_from((i, j, max(value, 1e-6)) for j, value in zip(places, values, strict=True))
    found = networkx.community.louvain_communities(graph, seed=0)
    ordered = sorted(found, key=lambda members: (-len(members), min(members)))
    number = {member: i for i, members in enumerate(ordered) for member in members}
    return [number[i] for i in range(len(near))]


@dataclass(frozen=True, eq=False)
class Tree:
    """A dendrogram of M networks.

    Attributes:
        merges: shape ``[M - 1, 4]``, as scipy has them: the two that are joined (M and above: earlier rows), their
            distance, and how many networks are below.
        order: positions of the networks from left to right, no branches crossing.
    """

    merges: Any
    order: list[int]


def tree(table: Embeddings, rows: Tensor, *, weight: float = 1.0) -> Tree:
    r"""Join the two nearest groups, by the mean distance of their networks, until one is left.

    The distance of two networks is that of their vectors, of length one: :math:`\sqrt{2 - 2 s}` with the similarity
    s in [-1, 1]. Needs 8 bytes for each of the M (M - 1) / 2 pairs, twice.

    Args:
        table: embeddings.
        rows: positions in it of the M networks.
        weight: of the edges.
    """
    import numpy as np
    from scipy.cluster import hierarchy

    count = len(rows)
    if count < 2:
        return Tree(np.empty((0, 4)), list(range(count)))
    condensed = np.empty(count * (count - 1) // 2)
    start = 0
    for block, nodes, edges in parts(table, rows, rows):
        distances = distance(mixture(nodes, edges, share(weight)))
        for i in range(block.start, block.stop):
            end = start + count - i - 1
            condensed[start:end] = distances[i - block.start, i + 1 :].numpy()
            start = end
    merges = hierarchy.linkage(condensed, "average")
    return Tree(merges, hierarchy.leaves_list(merges).tolist())


def distance(similarity: Tensor) -> Tensor:
    """Of vectors of length one with these inner products."""
    return (2 - 2 * similarity).clamp(min=0).sqrt()
