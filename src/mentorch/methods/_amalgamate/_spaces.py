"""Where student and teachers put the same images: each in its own features, all in the space that they share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mentorch._errors import UsageError
from mentorch._graph import Graph
from mentorch._tap import Tap, parse
from mentorch.losses import CommonFeatures
from mentorch.training import evaluating


@dataclass(frozen=True)
class Spaces:
    """Vectors of the same images, averaged over positions.

    Attributes:
        features: node -> what it shows there, ``[N, D]``, the student first.
        common: node -> the same in the common space, ``[N, H]``.
    """

    features: Mapping[str, Tensor]
    common: Mapping[str, Tensor]


def common_space(graph: Graph, inputs: Any) -> Spaces:
    """Read an amalgamated graph's features and their common space, for pictures and for measuring how they align.

    Args:
        graph: of :func:`amalgamate` with :class:`mentorch.losses.CommonFeatures`; of several, the last edge counts.
        inputs: images, which every node sees in its own way.

    Raises:
        UsageError: if no edge has a common space.
    """
    edges = [edge for edge in graph.edges if isinstance(edge.loss, CommonFeatures)]
    if not edges:
        raise UsageError("there is no common space in this graph: no edge is of losses.CommonFeatures")
    edge = edges[-1]
    loss: Any = edge.loss
    addresses = [parse(text, dict(graph.nodes)) for text in (*edge.targets, *edge.sources)]
    with evaluating(graph):
        features = [_read(graph, Tap(address), inputs) for address in addresses]
        common = loss.common(*features)
    names = [address.root for address in addresses]
    pooled = [[_vectors(x) for x in space] for space in (features, common)]
    return Spaces(*(dict(zip(names, space, strict=True)) for space in pooled))


def _read(graph: Graph, tap: Tap, inputs: Any) -> Tensor:
    handle = tap.install(graph.nodes[tap.address.root])
    try:
        tap.open()
        graph.predict(tap.address.root, inputs)
        return tap.take()
    finally:
        handle.remove()


def _vectors(x: Tensor) -> Tensor:
    return x.mean((2, 3)) if x.ndim == 4 else x.mean(1) if x.ndim == 3 else x
