"""Knowledge evolution: train, keep one part of the weights, draw the other anew, and train again."""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mentorch._graph import Graph
from mentorch.methods._structural._in_turn import Fit, check_drawn, check_turns, turn_options
from mentorch.methods._structural._memory import Memory, digest
from mentorch.structure import Split, reset, slim, uniform
from mentorch.structure._reset import Law
from mentorch.structure._split import hash_seed
from mentorch.training import History
from mentorch.training._describe import described


@dataclass(frozen=True)
class Evolved:
    """A finished generation of a network that evolves.

    Attributes:
        number: which one, from 1.
        network: the network that evolves; one object for all generations, which the next one goes on to change.
        graph: what it was trained in.
        history: what ``fit`` returned.
        split: what is kept of it.
        slim: the network of the kept channels alone, with tensors of its own; None for a split by weights.
    """

    number: int
    network: nn.Module
    graph: Graph
    history: History
    split: Split
    slim: nn.Module | None


def evolve(
    network: nn.Module,
    fit: Fit,
    draw: Callable[[nn.Module], Graph],
    split: Split | Callable[[nn.Module, int], Split],
    *,
    generations: int = 5,
    train: Callable[[int], Iterable[Any]] | None = None,
    law: Law = uniform,
    bias: bool = False,
    norm: Literal["keep", "affine", "statistics", "both"] = "keep",
    reset_first: bool = False,
    seed: int = 0,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Evolved]:
    r"""Train ``network`` in generations; between them its reset part forgets what it learned (knowledge evolution).

    .. math:: W_{g+1} = M \odot W_g + (1 - M) \odot U_{g+1}

    with M the mask of the fit part and U drawn anew. Training itself is ordinary: all weights take part. A generation
    is trained when the loop asks for it::

        s = split(plan(network, images), keep=0.5)
        train = partial(mentorch.fit, train=batches, optimizer=partial(SGD, lr=0.1), epochs=20)
        for generation in methods.evolve(network, train, methods.supervise, s):
            print(generation.number, accuracy(generation.network), accuracy(generation.slim))

    Every generation has a new optimiser and begins its schedule anew. It starts from the weights that ``fit`` left: of
    the last epoch, as published, or of the best with ``select="best"`` bound to ``fit``.

    Args:
        network: changed in place; generation 1 starts from its weights.
        fit: trains a graph: :func:`mentorch.fit` with everything but the graph bound by ``functools.partial``.
        draw: ``draw(network)``, how it learns: :func:`supervise`, or :func:`distill` with a teacher.
        split: what is kept: ``structure.split`` by channels (KELS) or weights (WELS), ``structure.later_layers``; or a
            function of the trained network and the number of its generation, such as one that calls
            ``structure.larger_weights``, or draws another random split each time.
        generations: how many.
        train: ``train(number)``, what a generation learns from, given to ``fit`` as ``train=``. Without it, each sees
            the samples in the same order.
        law: see :func:`mentorch.structure.reset`, like ``bias`` and ``norm``.
        bias: also forget biases.
        norm: also forget batch norms.
        reset_first: forget before generation 1 too, where ``network`` has learned already.
        seed: of the resets; each is a function of ``seed`` and the generation's number alone.
        run: folder with one run folder ``generation-N`` for each, given to ``fit`` as ``run=``, and ``evolution.json``:
            how they forget.
        resume: given to ``fit``: finished generations are read, not trained, and the unfinished one goes on. On a CPU
            the result has the same bits as without the interruption. There may be more ``generations`` than before.

    Raises:
        UsageError: at once for fewer than one generation, ``resume`` without ``run``, an optimiser instead of a
            factory, and a reset that does not work on a copy of the network; later for a graph without the network.
        RunError: if ``run`` holds a later generation but has lost an earlier one, or generations that forget in another
            way: the message names what differs.

    References:
        Taha et al., "Knowledge Evolution in Neural Networks", CVPR 2021, arXiv 2103.05152, section 3; forgetting other
            parts: Zhou et al., "Fortuitous Forgetting in Connectionist Networks", ICLR 2022, arXiv 2202.00155.
    """
    check_turns(fit, generations, "generation", run, resume)

    def kept(of: nn.Module, number: int) -> Split:
        return split if isinstance(split, Split) else split(of, number)

    def forget(of: nn.Module, number: int, part: Split) -> None:
        reset(of, part, law=law, bias=bias, norm=norm, seed=hash_seed(seed, f"generation {number}"))

    trial = copy.deepcopy(network)  # a mistake shows here, and not after the first generation
    forget(trial, 1, kept(trial, 0))
    named = law.__qualname__ if inspect.ismethod(law) else described(law)  # of an object with a folder, say
    facts = {"seed": seed, "law": named, "bias": bias, "norm": norm, "reset_first": reset_first}
    if isinstance(split, Split):
        facts |= {"keep": str(split.rate), "split": digest(split)}
    memory = Memory(run, resume, facts)

    def train_in_turn() -> Iterator[Evolved]:
        memory.begin()
        if reset_first:
            forget(network, 1, kept(network, 0))
        for number in range(1, generations + 1):
            graph = check_drawn(draw(network), network, "generation", number)
            options = turn_options(run, "generation", number, resume)
            if train is not None:
                options["train"] = train(number)
            history = fit(graph, **options)
            part = kept(network, number)
            memory.keep(number, part)
            small = slim(network, part) if part.by_channels else None
            yield Evolved(number, network, graph, history, part, small)
            if number < generations:
                forget(network, number + 1, part)

    return train_in_turn()
