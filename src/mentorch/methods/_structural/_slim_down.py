"""Structured pruning in steps, with training between them."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._freeze import freeze
from mentorch._graph import Graph
from mentorch.methods._structural._in_turn import Fit, check_drawn, check_turns, turn_options
from mentorch.structure import Plan, Split, plan, prune, slim
from mentorch.structure._scores import Importance
from mentorch.structure._split import Rate, read_rate
from mentorch.training import History


@dataclass(frozen=True)
class Slimmed:
    """A network after a step of pruning and the training that followed.

    Attributes:
        number: which step, from 1.
        network: what is left, trained; an independent network.
        graph: what it was trained in.
        history: what ``fit`` returned.
        split: what was kept of the network before this step.
        structure: the recipes of all steps so far, as :class:`mentorch.zoo.Card` keeps them.
    """

    number: int
    network: nn.Module
    graph: Graph
    history: History
    split: Split
    structure: tuple[dict[str, Any], ...]


def slim_down(
    network: nn.Module,
    fit: Fit,
    draw: Callable[[nn.Module, nn.Module], Graph],
    example: Any,
    *,
    to: Rate,
    of: Literal["parameters", "macs"] = "macs",
    by: Importance | Callable[[nn.Module, Plan], Tensor] = "l1",
    scope: Literal["global", "layer"] = "global",
    steps: int = 1,
    seed: int = 0,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Slimmed]:
    r"""Remove the channels of ``network`` that matter least, train what is left, and so on down to a target.

    After step i of R a fraction :math:`\kappa^{i/R}` of the network is left: each step removes the same fraction of
    what it finds. Channels are removed physically; ``network`` itself stays as it is, and can teach::

        learn = partial(methods.distill, ...)  # or: lambda small, whole: methods.supervise(small)
        for step in methods.slim_down(network, train, lambda small, whole: methods.distill(small, whole, losses.kd),
                                      images, to=0.5, steps=3):
            print(step.number, accuracy(step.network))

    Args:
        network: has learned already.
        fit: trains a graph: :func:`mentorch.fit` with everything but the graph bound by ``functools.partial``.
        draw: ``draw(small, whole)``, how what is left learns; ``whole`` is a frozen copy of ``network``.
        example: what the network is called with; values do not matter.
        to: the fraction kappa to keep.
        of: of the parameters, or of the multiply-adds in convolutions and linear layers.
        by: see :func:`mentorch.structure.scores`; or a function of network and plan that scores every channel, for
            ``taylor``, whose gradients somebody must compute first.
        scope: one ranking of all channels, or the same fraction of each space.
        steps: how many.
        seed: of random scores.
        run: folder with one run folder ``step-N`` for each, given to ``fit`` as ``run=``.
        resume: given to ``fit``: finished steps are read, not trained, and the unfinished one goes on.

    Raises:
        UsageError: at once for fewer than one step, ``resume`` without ``run``, an optimiser instead of a factory, an
            option that does not exist, and a target that is out of reach; later for a graph without the network.
        RunError: if ``run`` holds a later step but has lost an earlier one.

    References:
        Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, arXiv 1608.08710.
    """
    check_turns(fit, steps, "step", run, resume)
    rate = read_rate(to)
    if of not in ("parameters", "macs"):
        raise UsageError(f"slim down to a fraction of 'parameters' or 'macs', not {of!r}")

    def cut(found: nn.Module, left: Fraction) -> Split:
        """What to keep of ``found`` so that ``left`` of the whole network remains."""
        own = plan(found, example)
        most = min(Fraction(1), left * whole_cost / own.cost(own.shapes)[of == "macs"])
        return prune(found, own, by=by(found, own) if callable(by) else by, to=most, of=of, scope=scope, seed=seed)

    first = plan(network, example)
    whole_cost = first.cost(first.shapes)[of == "macs"]
    cut(network, rate)  # a target that is out of reach shows here, and not after some steps

    def train_in_turn() -> Iterator[Slimmed]:
        whole, small = freeze(copy.deepcopy(network)), network
        structure: tuple[dict[str, Any], ...] = ()
        for number in range(1, steps + 1):
            left = rate if number == steps else Fraction(float(rate) ** (number / steps))
            part = cut(small, left)
            small, structure = slim(small, part), (*structure, part.recipe())
            graph = check_drawn(draw(small, whole), small, "step", number)
            history = fit(graph, **turn_options(run, "step", number, resume))
            yield Slimmed(number, small, graph, history, part, structure)

    return train_in_turn()
