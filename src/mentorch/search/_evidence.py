"""Starting a search from what is known before it: scores of partners, and how many trials they save."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mentorch._errors import UsageError, unknown
from mentorch.comparison import interval, measure, outputs
from mentorch.search._candidate import CORRECT, CUT, TARGET, THROUGH, Candidate
from mentorch.search._problem import Problem
from mentorch.search._space import Space

Evidence = Literal["accuracy", "agreement"]


def scores(problem: Problem, run: str | Path, kind: Evidence = "accuracy", seed: int = 0) -> dict[str, float]:
    """A score of each partner after it learned from the labels alone; more is better.

    The partners are trained for this, once per run folder, and serve the search as frozen teachers afterwards.

    Args:
        problem: whose partners.
        run: folder of the search.
        kind: ``accuracy`` on validation data, or ``agreement``: the share of validation samples for which partner and
            target, trained in the same way, choose the same class.
        seed: of the trainings.

    Raises:
        UsageError: for an unknown kind.
    """
    if kind not in ("accuracy", "agreement"):
        raise unknown("evidence", kind, ("accuracy", "agreement"))
    if kind == "accuracy":
        return {name: standing(problem, Path(run), name, seed) for name in problem.partners}
    own = _choices(problem, Path(run), TARGET, seed)
    return {name: (_choices(problem, Path(run), name, seed) == own).float().mean().item() for name in problem.partners}


def standing(problem: Problem, run: Path, name: str, seed: int = 0) -> float:
    """Validation accuracy of a partner that learned from the labels alone."""
    network = _alone(problem, run, name, seed)
    found = measure(network, problem.data.validation, view=problem.view, batch_size=problem.eval_batch_size)
    return found["accuracy"]


def warm_start(space: Space, known: Mapping[str, float], count: int = 6) -> list[Candidate]:
    """Graphs to try first, from scores of partners that are known before training.

    Of the best partner: its distillation. Then, for sets of partners in the order of their mean score: all of them as
    frozen teachers, the same under the ``correct`` gate, and mutual learning. Whatever the space does not offer is
    left out.

    >>> found = warm_start(Space(("small", "large")), {"small": 0.7, "large": 0.9}, count=2)
    >>> [candidate.partners for candidate in found]
    [('large',), ('large', 'large')]

    Args:
        space: what may be chosen.
        known: architecture -> score, more is better: any number that somebody has, such as :func:`scores`.
        count: how many.

    Raises:
        UsageError: if a partner of the space has no score, or a score is of no partner.
    """
    for name in space.partners:
        if name not in known:
            raise UsageError(f"evidence says nothing about partner {name!r} (known: {', '.join(known) or 'nothing'})")
    for name in known:
        if name not in space.partners:
            raise unknown("partner in evidence", name, space.partners)
    sets = itertools.combinations_with_replacement(space.partners, space.nodes - 1)
    ranked = sorted(sets, key=lambda names: -sum(known[name] for name in names))
    best = max(space.partners, key=lambda name: known[name])
    drawn = [_taught((best,), THROUGH)]
    for partners in ranked:
        size = len(partners) + 1
        drawn += [_taught(partners, THROUGH), _taught(partners, CORRECT)]
        drawn.append(Candidate(partners, ((THROUGH,) * size,) * size))
    found: dict[str, Candidate] = {}
    for candidate in drawn:
        offered = Candidate(candidate.partners, candidate.gates, next(iter(space.losses)), *space.temperatures[:1])
        if _offers(space, offered):
            found.setdefault(offered.digest, offered)
    return list(found.values())[:count]


def trials_until(values: Sequence[float], level: float) -> int:
    """How many trials it took until one reached a level; one more than there were, if none did.

    >>> trials_until([0.5, 0.7, 0.9], 0.7), trials_until([0.5], 0.7)
    (2, 2)
    """
    return next((i for i, value in enumerate(values, start=1) if value >= level), len(values) + 1)


def saving(
    informed: Sequence[Sequence[float]], plain: Sequence[Sequence[float]], within: float = 0.005
) -> dict[str, Any]:
    """How many trials evidence saves: until one is within ``within`` of the best that either search found.

    Args:
        informed: per repetition, the values of a search that started from evidence, in order of its trials.
        plain: the same of searches that did not, of the same problem with the same seeds.
        within: in units of the values.

    Returns:
        ``informed`` and ``plain``: trials per repetition; ``saved``: their mean difference, with ``low`` and ``high``,
        its 95 % t interval (None for one repetition).

    Raises:
        UsageError: if there is nothing to compare, or not as many of one as of the other.
    """
    if not informed or len(informed) != len(plain):
        raise UsageError(f"as many informed searches as plain ones are compared, got {len(informed)} and {len(plain)}")
    taken = []
    for one, other in zip(informed, plain, strict=True):
        level = max(*one, *other) - within
        taken.append((trials_until(one, level), trials_until(other, level)))
    saved = [float(other - one) for one, other in taken]
    low, high = interval(saved) or (None, None)
    mean = sum(saved) / len(saved)
    return {"informed": [t[0] for t in taken], "plain": [t[1] for t in taken], "saved": mean, "low": low, "high": high}


def _choices(problem: Problem, run: Path, name: str, seed: int) -> torch.Tensor:
    network = _alone(problem, run, name, seed)
    logits, _ = outputs(network, problem.data.validation, view=problem.view, batch_size=problem.eval_batch_size)
    return logits.argmax(1)


def _alone(problem: Problem, run: Path, name: str, seed: int) -> nn.Module:
    """A network that learned from the labels alone, where the data are, with what it sees."""
    device = problem.data.validation.images.device
    if isinstance(problem.view, nn.Module):
        problem.view.to(device)
    return problem.trained(name, seed, run).to(device)


def _taught(teachers: tuple[str, ...], gate: str) -> Candidate:
    """A target that learns from frozen partners and the labels."""
    size = len(teachers) + 1
    return Candidate(teachers, ((THROUGH, *[gate] * (size - 1)), *[(CUT,) * size] * (size - 1)))


def _offers(space: Space, candidate: Candidate) -> bool:
    try:
        space.chosen(candidate)
    except UsageError:
        return False
    return True
