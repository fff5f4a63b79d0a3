"""The networks most similar to each, for every weight of the edges at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._embedding import Embeddings

_ROWS, _COLUMNS = 512, 2048  # of a block of similarities
_DIGITS = 5
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the edges in a similarity, where neighbours are searched and maps are drawn; see :func:`share`."""


def share(weight: float) -> float:
    """The share of the edges, from 0 (nodes alone) to 1 (edges alone), that belongs to their weight.

    Nodes plus ``weight`` times edges ranks as ``(1 - share)`` times nodes plus ``share`` times edges does.

    Raises:
        UsageError: for a weight that is negative or not finite.

    >>> share(0.0), share(1.0), share(3.0)
    (0.0, 0.5, 0.75)
    """
    if not 0 <= weight < float("inf"):
        raise UsageError(f"weight of the edges must be 0 or more, not {weight}")
    return weight / (1 + weight)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For each of M networks the K others that matter, at whatever weight of the edges.

    Attributes:
        index: positions, shape ``[M, K]``.
        nodes: similarity of attribution maps, V, shape ``[M, K]``.
        edges: rank correlation of relations between probes, E, shape ``[M, K]``.
    """

    index: Tensor
    nodes: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def nearest(self, k: int, *, weight: float = 1.0) -> "Neighbours":
        """The k most similar of each, best first; of those that agree in five decimals, the ones that come first.

        Where there are not k others, all of them.

        Raises:
            UsageError: if k is below 1 or above what was kept.
        """
        kept = self.index.shape[1]
        if k < 1 or (k > kept and kept < len(self) - 1):
            raise UsageError(f"nearest: k must be between 1 and {kept}, the neighbours that were kept, not {k}")
        order = _order(mixture(self.nodes, self.edges, share(weight)), self.index, len(self), min(k, kept))
        return Neighbours(*(part.gather(1, order) for part in (self.index, self.nodes, self.edges)))


def mixture(nodes: Tensor, edges: Tensor, at: float) -> Tensor:
    """Nodes and edges, those with the share ``at``, in [-1, 1]."""
    return (1 - at) * nodes + at * edges


def parts(table: Embeddings, rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Both parts of similarities, by blocks of 512 of the rows: which, nodes ``[B, N]``, edges ``[B, N]``, float32.

    Of the embeddings, which may be mapped from a file, 2,560 at most are in memory at a time.

    Args:
        table: embeddings.
        rows: positions in it.
        columns: positions in it, N.
    """
    for block in _blocks(len(rows), _ROWS):
        chosen = rows[block]
        yield block, _product(table.nodes, chosen, columns), _product(table.edges, chosen, columns)


def _product(part: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    left = part[rows].float() / part.shape[1]
    result = left.new_empty(len(rows), len(columns))
    for block in _blocks(len(columns), _COLUMNS):
        result[:, block] = left @ part[columns[block]].float().mT
    return result


def neighbours(table: Embeddings, rows: Tensor, *, keep: int = 64, shares: Sequence[float] = SHARES) -> Neighbours:
    """Search the nearest of each network at several shares of the edges, in one pass over all pairs.

    A network is kept for its best place at any of the shares, so the ``keep / len(shares)`` nearest of each share are
    there for certain, and those of shares between are missed only if they are far from the nearest at both ends: the
    similarity is linear in the share.

    Args:
        table: embeddings.
        rows: positions in it of the M networks.
        keep: how many of each, K; at most M - 1 are.
        shares: of the edges, see :func:`share`.
    """
    count, every = len(rows), torch.arange(len(rows))
    keep = min(keep, count - 1)
    found: list[tuple[Tensor, ...]] = []
    for block, nodes, edges in parts(table, rows, rows):
        own = every[block]
        place = torch.full(nodes.shape, count, dtype=torch.int32)
        for at in shares:
            mixed = mixture(nodes, edges, at)
            mixed[own - block.start, own] = -torch.inf
            best = _order(mixed, every, count, keep)
            place.scatter_reduce_(1, best, torch.arange(keep, dtype=torch.int32).expand(len(best), -1), "amin")
        chosen = (place.long() * count + every).topk(keep, largest=False).values % count
        found.append((chosen, nodes.gather(1, chosen), edges.gather(1, chosen)))
    return Neighbours(*(torch.cat(column) for column in zip(*found, strict=True)))


def _order(values: Tensor, index: Tensor, count: int, k: int) -> Tensor:
    """Where the k largest of each row are; rounded, and of equals those with the smaller index."""
    rounded = (values.double().clamp(min=-2) * 10**_DIGITS).round().long()
    order: Tensor = (rounded * count - index).topk(k).indices
    return order


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
