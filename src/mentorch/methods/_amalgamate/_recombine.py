"""Recombination: all teachers side by side in one network, which is then made smaller in rounds."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentorch import structure
from mentorch._errors import UsageError
from mentorch._graph import Graph, View
from mentorch.data import LabelSpace
from mentorch.losses import Concatenated
from mentorch.methods._amalgamate._draw import STUDENT, amalgamate, check
from mentorch.training import History


@dataclass(frozen=True)
class Round:
    """One round of recombination.

    Attributes:
        number: from 0, the merged network as it is.
        network: what is left.
        parameters: how many it has.
        graph: in which it was trained; None for round 0.
        history: what ``fit`` returned; None for round 0.
    """

    number: int
    network: nn.Module
    parameters: int
    graph: Graph | None = None
    history: History | None = None


def recombine(
    teachers: Mapping[str, nn.Module],
    train: Iterable[Any],
    fit: Callable[..., History],
    *,
    space: LabelSpace,
    keep: float = 0.6,
    rounds: int = 3,
    by: Literal["l1", "l2", "bn"] = "l1",
    kd: Callable[..., nn.Module] = Concatenated,
    view: View | None = None,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Round]:
    r"""A student that begins as all teachers at once, exactly, and is pruned and taught again until it is small.

    The teachers' weights become the blocks of one network's (:func:`mentorch.structure.merge`): before the first round
    its outputs are theirs. Each round removes the same fraction of what is left, :math:`1 - \kappa^{1/R}`, and teaches
    the rest from the teachers' logits. The outputs of every teacher stay a block of their own, in the joint order.

    The form is that of a toolkit; there is no paper.

    Args:
        teachers: name -> network, two or more of one architecture, frozen in place.
        train: batches whose first part are the inputs, as ``fit`` takes them.
        fit: :func:`mentorch.fit` with everything bound but the graph, the data, ``run`` and ``resume``.
        space: the joint classes, the teachers' one after the other (``overlap="keep"`` where names are shared).
        keep: kappa, the fraction of the merged network's parameters that is left at the end.
        rounds: R.
        by: see :func:`mentorch.structure.prune`.
        kd: see :func:`amalgamate`.
        view: what all of them see of the inputs, on which the merged network stands; teachers that were made for other
            inputs cannot be merged.
        run: folder with one run folder ``round-N`` for each.
        resume: given to ``fit``: finished rounds are read, and the unfinished one goes on.

    Yields:
        The rounds; the first is the merged network.

    Raises:
        UsageError: as :func:`amalgamate` and :func:`mentorch.structure.merge`; for classes that are not one after the
            other, a ``keep`` outside of (0, 1], fewer than one round, and ``resume`` without ``run``.
    """
    check(teachers, space)
    blocks = torch.cat([space.block(name) for name in teachers])
    if not blocks.equal(torch.arange(len(space))) or any(-1 in space.parts[name] for name in teachers):
        raise UsageError(
            "recombination keeps all outputs of the teachers, one after the other: LabelSpace.union(..., "
            "overlap='keep') in the order of the teachers"
        )
    if not 0 < keep <= 1 or rounds < 1:
        raise UsageError(f"keep is a fraction above 0 and rounds at least 1, not {keep} and {rounds}")
    if resume and run is None:
        raise UsageError("resume needs a run folder: pass run=")

    def in_turn() -> Iterator[Round]:
        first = next(iter(train))
        inputs = (first if isinstance(first, Tensor) else first[0])[:2]
        example = inputs if view is None else view(inputs)
        network = _learning(structure.merge(list(teachers.values()), example))
        yield Round(0, network, _size(network))
        views = {} if view is None else dict.fromkeys((STUDENT, *teachers), view)
        for number in range(1, rounds + 1):
            plan = structure.plan(network, example)
            network = structure.slim(network, structure.prune(network, plan, by=by, to=keep ** (1 / rounds)))
            graph = amalgamate(teachers, network, space=space, kd=kd, views=views)
            place: dict[str, Any] = {} if run is None else {"run": Path(run) / f"round-{number}", "resume": resume}
            history = fit(graph, train, **place)
            yield Round(number, network, _size(network), graph, history)

    return in_turn()


def _learning(network: nn.Module) -> nn.Module:
    """A copy of frozen networks, as one that was never frozen."""
    for module in network.modules():
        vars(module).pop("train", None)  # what keeps a frozen module in evaluation mode is its own
    return network.requires_grad_(True).train()


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
