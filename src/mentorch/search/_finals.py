"""The best graphs once more, with new seeds, beside what they have to beat."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch._graph import Graph
from mentorch.comparison import Method, compare
from mentorch.losses import kd
from mentorch.methods import distill
from mentorch.search._candidate import TARGET, THROUGH, Candidate
from mentorch.search._evidence import standing
from mentorch.search._problem import Problem
from mentorch.search._space import Space


def finals(
    problem: Problem,
    run: str | Path,
    candidates: Sequence[Candidate],
    *,
    space: Space | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    knn: int = 5,
    resume: bool = False,
    save: Callable[[nn.Module, Path, Mapping[str, Any]], None] | None = None,
    on_row: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train the graphs that a search found best with new seeds, and measure them once on the test split.

    :func:`contestants` says what they have to beat, with the same seeds, epochs and data. The weights of the last epoch
    count. This is the only place where the test split is read.

    Args:
        problem: what was searched for.
        run: folder of the search; results are written there, as :func:`mentorch.comparison.compare` does.
        candidates: the best graphs, best first.
        space: where they are from; unless given, that of :func:`search`.
        seeds: other ones than those of the search, three or more for an interval that says something.
        knn: neighbours of the nearest-neighbour evaluation; 0 leaves it out.
        resume: keep finished runs of the folder.
        save: keeps a finished target.
        on_row: hears of each finished run.

    Returns:
        The content of ``results.json``, of the kind ``search``.

    Raises:
        UsageError: without a candidate.
    """
    return compare(
        problem.target,
        contestants(problem, run, candidates, space=space),
        problem.data,
        fit=problem.train,
        run=run,
        seeds=seeds,
        view=problem.view,
        augment=problem.augment,
        batch_size=problem.batch_size,
        eval_batch_size=problem.eval_batch_size,
        select="last",
        knn=knn,
        student_name=problem.target_name,
        kind="search",
        resume=resume,
        save=save,
        on_row=on_row,
    )


def contestants(
    problem: Problem, run: str | Path, candidates: Sequence[Candidate], *, space: Space | None = None
) -> dict[str, Method]:
    """The best graphs of a search, and what they have to beat, ready to be compared.

    ``independent`` is the target alone, ``mutual`` deep mutual learning in a graph of as many nodes as the space has,
    ``kd`` distillation with published weights; their partners are those that are best on validation data after learning
    from the labels. ``searched-HASH`` are the candidates.

    Args:
        problem: what was searched for.
        run: folder of the search; partners that are not trained yet are trained there.
        candidates: the best graphs.
        space: where they are from; unless given, that of :func:`search`.

    Raises:
        UsageError: without a candidate.
    """
    if not candidates:
        raise UsageError("finals need a graph at least: did the search finish a trial?")
    folder, space = Path(run), space or Space(tuple(problem.partners))
    ranking = sorted(space.partners, key=lambda name: -standing(problem, folder, name))
    partners = tuple(itertools.islice(itertools.cycle(ranking), space.nodes - 1))
    graphs = {
        "independent": Candidate((), ((THROUGH,),)),
        "mutual": Candidate(partners, ((THROUGH,) * space.nodes,) * space.nodes),
        **{f"searched-{candidate.digest[:6]}": candidate for candidate in candidates},
    }
    plain = Space(space.partners, space.nodes)
    methods = {
        name: Method(
            functools.partial(
                _draw, problem, graph.canonical(), plain if name in ("independent", "mutual") else space, folder
            ),
            node=TARGET,
        )
        for name, graph in graphs.items()
    }
    return {**methods, "kd": Method(functools.partial(_distill, problem, ranking[0], folder))}


def _draw(problem: Problem, candidate: Candidate, space: Space, run: Path, target: nn.Module) -> Graph:
    # whoever compares has seeded the generator just now: partners belong to the same seed as the target
    return problem.draw(candidate, space, torch.initial_seed(), run, target)


def _distill(problem: Problem, teacher: str, run: Path, target: nn.Module) -> Graph:
    network = problem.trained(teacher, torch.initial_seed(), run)
    views = dict.fromkeys(("student", "teacher"), problem.view) if problem.view else None
    return distill(target, network, kd, views=views)
