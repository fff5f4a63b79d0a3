"""From a zoo and labelled images of a target to a ranking."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mentorch._errors import MentorchError, UsageError
from mentorch.networks import cost
from mentorch.transferability._checks import Uninformative, class_index
from mentorch.transferability._engines import Engine, here
from mentorch.transferability._gbc import gbc
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._logme import logme
from mentorch.transferability._look import Look, Score, Target, info_of, title
from mentorch.transferability._ranking import Ranking, Row
from mentorch.transferability._ridge import ridge
from mentorch.zoo import Card, Entry, entries, reason

DEFAULT: tuple[Score, ...] = (logme, ridge, gbc)
_FEW = 2


def rank(
    zoo: str | Path | Iterable[Entry],
    images: Tensor,
    labels: Tensor,
    *,
    scores: Sequence[Score] = DEFAULT,
    reference: tuple[nn.Module, Card] | None = None,
    at: str | None = None,
    classes: int | None = None,
    probes: int = 64,
    trust: bool = False,
    batch_size: int = 128,
    engine: Engine = here,
    known: Mapping[Path, Row] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Ranking:
    """Score every network of a zoo on the same labelled images; one that fails is a row with its reason.

    Each network sees the images as its card says (:class:`mentorch.zoo.Prepare`), once; its features are read where it
    classifies by, and all scores share their factorization. The random state is left alone.

    Args:
        zoo: a folder, or entries of one.
        images: of the target, uint8 or floating point in [0, 1], shape ``[N, C, H, W]``; networks run where they are.
        labels: their classes, integers, shape ``[N]``.
        scores: of this package, with options bound by ``functools.partial``; the first one decides the order.
        reference: a network that is good at the target, and its card, for scores that compare networks with it.
        at: where features are read in every network, such as ``fc:in``; by default where each says itself.
        classes: how many the target has; a warning names those without an image.
        probes: images that attributions are computed for, for scores that need them: the first ones.
        trust: see :func:`mentorch.zoo.load`.
        batch_size: memory only.
        engine: who computes: :func:`here`, or ``partial(in_processes, workers=4)``, or ``partial(on_ray, workers=4)``;
            workers get copies of images and reference, and run on the processor unless these lie elsewhere.
        known: rows by folder, from a ranking of the same images by the same scores that was interrupted: these networks
            are not looked at again.
        on_row: told of each network when it is done, but not of known ones.

    Raises:
        UsageError: if the zoo is not a folder or empty, the labels do not fit or are of one class, a score is not one
            of this package, or needs a reference and there is none.
    """
    if not scores:
        raise UsageError("rank needs at least one score, such as mentorch.transferability.logme")
    infos = [info_of(score) for score in scores]
    asked = {title(score): (score, info) for score, info in zip(scores, infos, strict=True)}
    index, sizes = class_index("rank", labels, len(images))
    needy = [name for name, (_, info) in asked.items() if "reference" in info.needs]
    if needy and reference is None:
        raise UsageError(f"{needy[0]} compares with a network that is good at the target: name a reference")
    target = Target(images, index, at, probes, batch_size, trust, reference)
    if needy:
        target.known.features  # noqa: B018 - a reference of no use is an error now, not one of every network
    found = list(entries(zoo) if isinstance(zoo, str | Path) else zoo)
    done = dict(known or {})
    left = [entry for entry in found if entry.folder not in done]
    for entry, outcome in engine(partial(_row, target=target, asked=asked), left):
        row = replace(_facts(entry), failure=outcome) if isinstance(outcome, str) else outcome
        done[entry.folder] = row
        if on_row is not None:
            on_row(row)
    rows = _twins(done[entry.folder] for entry in found)
    if not rows:
        raise UsageError(f"nothing to rank: {zoo if isinstance(zoo, str | Path) else 'the zoo'} holds no network")
    names = tuple(asked)
    return Ranking(
        tuple(sorted(rows, key=lambda r: _place(r, names[0]))), names, len(images), len(sizes), _notes(sizes, classes)
    )


def _twins(rows: Iterable[Row]) -> list[Row]:
    """The rows, those that have the weights of an earlier one with a warning."""
    result: list[Row] = []
    seen: dict[str, str] = {}
    for row in rows:
        if not row.failure and row.hash is not None and (twin := seen.setdefault(row.hash, row.name)) != row.name:
            row = replace(row, warnings=(*row.warnings, f"the same weights as {twin}"))
        result.append(row)
    return result


def _facts(entry: Entry) -> Row:
    """What is known of a network before it is looked at."""
    row, card = Row(entry.name, str(entry.folder), failure=entry.failure), entry.card
    if card is None:
        return row
    return replace(row, network=card.network, dataset=card.dataset, hash=entry.hash, own=_own(card))


def _row(entry: Entry, target: Target, asked: dict[str, tuple[Score, ScoreInfo]]) -> Row:
    began = time.perf_counter()
    row = _facts(entry)
    if row.failure:
        return row
    told: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            network, card = entry.load(trust=target.trust)
            if card.input is None:
                told.append("its card does not say what it is fed: images in [0, 1] as they are")
            look = target.look(network, card)
            paused = time.perf_counter()
            found = cost(look.network, _example(target.images))
            began += time.perf_counter() - paused  # counting is no part of what scoring takes
            row = replace(row, parameters=found.parameters, macs=found.macs)
            look.features  # noqa: B018 - a network whose features are of no use has no score at all
            values = {name: _value(name, look, *part, told) for name, part in asked.items()}
    except Exception as error:  # whatever the network or the package that builds it raises is about this entry
        return replace(row, failure=reason(error), seconds=time.perf_counter() - began)
    told += [str(warning.message) for warning in caught if issubclass(warning.category, Uninformative)]
    return replace(row, scores=values, warnings=tuple(dict.fromkeys(told)), seconds=time.perf_counter() - began)


def _value(name: str, look: Look, score: Score, info: ScoreInfo, told: list[str]) -> float:
    try:
        return float(look.score(score, info))
    except MentorchError as error:
        told.append(reason(error) if str(error).startswith(name) else f"{name}: {reason(error)}")
        return float("nan")


def _own(card: Card) -> float | None:
    """The test accuracy that a card states, of the best epoch if it tells epochs apart."""
    test = card.metrics.get("test")
    if not isinstance(test, dict):
        return None
    value = test.get("best", test)
    value = value.get("accuracy") if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _example(images: Tensor) -> Tensor:
    return torch.zeros_like(images[:1], dtype=torch.float32)


def _notes(sizes: Tensor, classes: int | None) -> tuple[str, ...]:
    found = []
    if classes is not None and len(sizes) < classes:
        found.append(f"{classes - len(sizes)} of {classes} classes of the target have no image here")
    if int(sizes.min()) < _FEW:
        found.append(f"{int((sizes < _FEW).sum())} of {len(sizes)} classes have a single image")
    return tuple(found)


def _place(row: Row, score: str) -> tuple[bool, bool, float]:
    value = row.column(score)
    return bool(row.failure), value != value, -value if value == value else 0.0
