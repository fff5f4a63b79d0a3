"""Networks that are trained one after another, each the teacher of the next."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._errors import UsageError
from mentorch._freeze import freeze, is_frozen
from mentorch._graph import Graph
from mentorch.losses import cross_entropy
from mentorch.training import History

Make = Callable[[], nn.Module]
"""Makes a fresh network."""
Draw = Callable[[nn.Module, nn.Module], Graph]
"""``draw(student, teacher)``: how one learns from the other."""


@dataclass(frozen=True)
class Generation:
    """A finished training out of several that follow each other.

    Attributes:
        number: which one, from 1.
        network: what was trained; frozen as soon as the next generation begins, whose teacher it is.
        graph: what it was trained in.
        history: what ``fit`` returned.
    """

    number: int
    network: nn.Module
    graph: Graph
    history: History


def labels_only(student: nn.Module) -> Graph:
    """The graph of a first generation without a teacher."""
    return Graph({"student": student}, [Edge("labels", "student", cross_entropy)])


def born_again(
    make: Make,
    fit: Callable[..., History],
    draw: Draw,
    *,
    generations: int = 3,
    teacher: nn.Module | None = None,
    first: Callable[[nn.Module], Graph] = labels_only,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Generation]:
    """The same network several times, each time from fresh weights, taught by the one before (born-again networks).

    A generation is trained when the loop asks for it::

        train = partial(mentorch.fit, train=batches, optimizer=partial(SGD, lr=0.1), epochs=20)
        for generation in methods.born_again(make, train, lambda s, t: methods.distill(s, t, losses.kd)):
            print(generation.number, mentorch.evaluate(generation.graph, test))

    Published: the teacher's outputs alone at T = 1 (``distill(s, t, partial(losses.kd, temperature=1.0), labels=0)``),
    or beside the labels; an :class:`Ensemble` of all generations is better than any.

    Args:
        make: makes a network with random weights; called once per generation.
        fit: trains a graph: :func:`mentorch.fit` with everything but the graph bound by ``functools.partial``.
        draw: ``draw(student, teacher)``, such as a call of :func:`distill` with its losses and views.
        generations: how many.
        teacher: of the first generation.
        first: how the first generation learns without a teacher: from the labels, unless said otherwise (a view, say:
            ``partial(supervise, view=...)``).
        run: folder with one run folder ``generation-N`` for each, given to ``fit`` as ``run=``.
        resume: given to ``fit``: finished generations are read, not trained, and the unfinished one goes on. On a CPU
            the result has the same bits as without the interruption.

    Raises:
        UsageError: for fewer than one generation, ``resume`` without ``run``, a ``make`` that gives an earlier network
            again, and a graph without the network.

    References:
        Furlanello et al., "Born-Again Neural Networks", ICML 2018, arXiv 1805.04770.
    """
    if generations < 1:
        raise UsageError(f"generations must be at least 1, got {generations}")
    return _in_turn(itertools.repeat(make, generations), fit, draw, teacher, first, run, resume)


def assistants(
    makes: Sequence[Make],
    fit: Callable[..., History],
    draw: Draw,
    *,
    teacher: nn.Module | None = None,
    first: Callable[[nn.Module], Graph] = labels_only,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Generation]:
    """Networks of falling size, each taught by the one before (teacher assistants).

    A teacher that is much larger than its student teaches it badly; one of a size in between learns from it and passes
    on what it learned. :func:`chain` trains such a row at the same time, here one follows the other, as published.
    The options are those of :func:`born_again`.

    Args:
        makes: make the networks, in the order in which they learn: the largest assistant first, the student last.
        fit: see :func:`born_again`.
        draw: see :func:`born_again`; published: ``kd`` beside the labels.
        teacher: of the first of them; without one, it learns from the labels.
        first: see :func:`born_again`.
        run: see :func:`born_again`.
        resume: see :func:`born_again`.

    Raises:
        UsageError: without a network, and as :func:`born_again`.

    References:
        Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020, arXiv 1902.03393.
    """
    if not makes:
        raise UsageError("assistants needs at least one network to train")
    return _in_turn(makes, fit, draw, teacher, first, run, resume)


def _in_turn(
    makes: Iterable[Make],
    fit: Callable[..., History],
    draw: Draw,
    teacher: nn.Module | None,
    first: Callable[[nn.Module], Graph],
    run: str | Path | None,
    resume: bool,
) -> Iterator[Generation]:
    if resume and run is None:
        raise UsageError("resume needs a run folder: pass run=")

    def train() -> Iterator[Generation]:
        before = teacher
        for number, make in enumerate(makes, start=1):
            if before is not None and not is_frozen(before):
                freeze(before)
            network = make()
            if is_frozen(network):
                raise UsageError(f"generation {number} is a frozen network, such as an earlier one: make a new one")
            graph = first(network) if before is None else draw(network, before)
            if all(node is not network for node in graph.nodes.values()):
                raise UsageError(f"generation {number} is not in the graph that was drawn for it: use it, not a copy")
            options: dict[str, Any] = (
                {} if run is None else {"run": Path(run) / f"generation-{number}", "resume": resume}
            )
            yield Generation(number, network, graph, fit(graph, **options))
            before = network

    return train()


class Ensemble(nn.Module):
    r"""Several networks as one: the logarithm of the mean of their probabilities.

    .. math:: z_c = \log \frac{1}{M} \sum_m softmax(z^m)_c

    Such logits are what every loss and metric takes; an ensemble can be frozen and teach. Of born-again networks: the
    ensemble of generations (BANE).

    Args:
        networks: inputs to logits ``[N, K]``, all for the same classes.

    Raises:
        UsageError: without a network.

    >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
    >>> logits = Ensemble([one, other])(torch.ones(1, 2))
    >>> mean = (one(torch.ones(1, 2)).softmax(1) + other(torch.ones(1, 2)).softmax(1)) / 2
    >>> torch.allclose(logits.softmax(1), mean)
    True
    """

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        if not self.networks:
            raise UsageError("an Ensemble needs at least one network")

    def forward(self, inputs: Any) -> Tensor:
        """Log-probabilities, shape ``[N, K]``."""
        each = torch.stack([network(inputs).log_softmax(1) for network in self.networks])
        return each.logsumexp(0) - math.log(len(self.networks))
