"""Supervised learning: the graph with one edge."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mentorch._edge import Edge, Loss
from mentorch._graph import Graph, View
from mentorch.losses import cross_entropy


def supervise(
    student: nn.Module, *, loss: Loss = cross_entropy, view: View | None = None, example: Sequence[Any] | None = None
) -> Graph:
    """A network that learns from labels alone: what every transfer method has to beat.

    >>> supervise(nn.Linear(2, 3))
    Graph
      student  learning  Linear, 9 parameters
      labels -> student: cross_entropy  x 1

    Args:
        student: learns, under the name ``student``.
        loss: ``loss(output, labels)``.
        view: what the network sees of the inputs.
        example: see :class:`mentorch.Graph`.
    """
    views = {} if view is None else {"student": view}
    return Graph({"student": student}, [Edge("labels", "student", loss)], views=views, example=example)
