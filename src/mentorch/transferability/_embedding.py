"""One vector per network whose inner products are the similarities of attribution graphs."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability._depara import relation_ranks, unit_maps
from mentorch.transferability._explain import Reading, fingerprint
from mentorch.transferability._lens import MODEL_SELECTION, Lens

_BLOCK = 512  # rows of a product at once


@dataclass(frozen=True)
class Frame:
    r"""What must be equal for embeddings of networks to be compared, and how they are made.

    The similarity :math:`V + \lambda E` of two attribution graphs is an inner product: that of all maps, each of length
    one and divided by :math:`\sqrt P`, followed by :math:`\sqrt \lambda` times the standardized ranks of the cosines
    between probes. Both parts are kept apart, so :math:`\lambda` is chosen when they are read. Maps are averaged to a
    common grid, then sketched: every pixel is added, with a random sign, to one of ``width`` numbers, anew for each
    probe, which changes V by about :math:`\sqrt{(1 + V^2) / (P \cdot width)}`. Of the pairs of probes a fixed random
    part is ranked, which changes E by about :math:`1 / \sqrt{pairs}`.

    Attributes:
        probes: fingerprint of the probes.
        count: probes, P.
        lens: in words.
        grid: height and width of maps.
        width: numbers per map, or None for the map itself.
        pairs: of probes, or None for all.

    Raises:
        UsageError: for fewer than 3 probes, or sizes below 1.
    """

    probes: str
    count: int
    lens: str
    grid: int = 56
    width: int | None = 64
    pairs: int | None = 16384

    def __post_init__(self) -> None:
        if self.count < 3:
            raise UsageError(f"frame: ranks pairs of probes, which needs 3 probes or more, got {self.count}")
        for name, value in (("grid", self.grid), ("width", self.width), ("pairs", self.pairs)):
            if value is not None and value < 1:
                raise UsageError(f"frame: {name} must be at least 1, not {value}")

    @classmethod
    def of(
        cls,
        probes: Tensor,
        lens: Lens = MODEL_SELECTION,
        *,
        grid: int = 56,
        width: int | None = 64,
        pairs: int | None = 16384,
    ) -> "Frame":
        """The frame for a set of probes, shape ``[P, C, H, W]``; a grid above their size is cut down to it."""
        if probes.ndim != 4:
            raise UsageError(f"frame: needs probes [P, C, H, W], got {list(probes.shape)}")
        grid = min(grid, *probes.shape[2:])
        return cls(fingerprint(probes), len(probes), str(lens), grid, width, pairs)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many numbers there are for nodes and for edges."""
        every = self.count * (self.count - 1) // 2
        return self.count * (self.width or self.grid**2), min(every, self.pairs or every)

    def key(self, network: str) -> str:
        """Name of an embedding by content: of the frame, and of ``network``.

        Args:
            network: a text that differs when its embedding might: hash of weights, preprocessing, address.
        """
        text = json.dumps([dataclasses.asdict(self), network], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def embed(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """Nodes and edges of one network, float32, of :attr:`sizes`; each number has a mean square of about one.

        Raises:
            UsageError: for a reading of other probes or through another lens.
            RunError: if all chosen pairs of probes are equally similar to the network.
        """
        if reading.probes != self.probes or reading.lens != self.lens:
            raise UsageError(f"frame: needs a reading of its own probes through {self.lens!r}, got {reading.lens!r}")
        nodes, edges = self._nodes(reading.maps), relation_ranks(reading, self._chosen(reading.maps.device))
        return nodes.flatten().float(), (edges * len(edges) ** 0.5).float()

    def _nodes(self, maps: Tensor) -> Tensor:
        rows = unit_maps(F.interpolate(maps[:, None].double(), (self.grid, self.grid), mode="area"))  # [P, G]
        if self.width is not None:
            places, signs = _sketch(*rows.shape, self.width, rows.device)
            rows = rows.new_zeros(len(rows), self.width).scatter_add_(1, places, signs * rows)
        scale: float = rows.shape[1] ** 0.5
        return F.normalize(rows, dim=1) * scale

    def _chosen(self, device: torch.device) -> Tensor | None:
        every = self.count * (self.count - 1) // 2
        if self.pairs is None or self.pairs >= every:
            return None
        return _mix(torch.arange(every, device=device) + 2**40).argsort()[: self.pairs].sort().values


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of M networks in one frame.

    Attributes:
        keys: one per network.
        nodes: shape ``[M, n]``.
        edges: shape ``[M, e]``.
    """

    keys: tuple[str, ...]
    nodes: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, index: Tensor) -> "Embeddings":
        """Those of some networks, by position."""
        return Embeddings(tuple(self.keys[i] for i in index.tolist()), self.nodes[index], self.edges[index])


def similarities(first: Embeddings, second: Embeddings, *, weight: float = 1.0) -> Tensor:
    """V plus ``weight`` times E of all pairs, shape ``[A, B]``, float32, by blocks of 512 networks.

    Raises:
        UsageError: for embeddings of other frames.
    """
    if first.nodes.shape[1:] != second.nodes.shape[1:] or first.edges.shape[1:] != second.edges.shape[1:]:
        raise UsageError("similarities: the embeddings are of two frames")
    result = torch.empty(len(first), len(second), device=first.nodes.device)
    for rows in _blocks(len(first)):
        for columns in _blocks(len(second)):
            result[rows, columns] = _product(first.nodes[rows], second.nodes[columns])
            result[rows, columns] += weight * _product(first.edges[rows], second.edges[columns])
    return result


def nearest(embeddings: Embeddings, *, k: int, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """The k most similar other networks of each; of those that agree in five decimals, the ones that come first.

    Returns:
        Similarities, largest first, and positions, both shape ``[M, k]``.

    Raises:
        UsageError: if k is not between 1 and M - 1.
    """
    if not 1 <= k < len(embeddings):
        raise UsageError(f"nearest: k must be between 1 and {len(embeddings) - 1}, not {k}")
    values, places = [], []
    for rows in _blocks(len(embeddings)):
        index = torch.arange(rows.start, rows.stop)
        part = similarities(embeddings.select(index), embeddings, weight=weight).round(decimals=5)
        part[index - rows.start, index] = -torch.inf
        value, place = part.sort(dim=1, descending=True, stable=True)
        values.append(value[:, :k])
        places.append(place[:, :k])
    return torch.cat(values), torch.cat(places)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return a.float() @ b.float().mT / a.shape[1]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))


@functools.lru_cache(maxsize=1)  # the same for all networks of a frame
def _sketch(count: int, pixels: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel of each map is added, below ``width``, and its sign, both shape ``[count, pixels]``."""
    mixed = _mix(torch.arange(count * pixels, device=device).view(count, pixels))
    return (mixed >> 8) % width, (mixed & 1).double() * 2 - 1


def _mix(x: Tensor) -> Tensor:
    """A hash of integers, the same on every machine, at least 0 (the finalizer of SplitMix64)."""
    x = (x + 1) * -0x61C8864680B583EB
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return (x ^ (x >> 31 & 0x1FFFFFFFF)) & 0x7FFFFFFFFFFFFFFF
