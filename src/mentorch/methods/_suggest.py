"""From a ranking of a zoo to the graph that teaches a student."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mentorch._edge import Edge
from mentorch._errors import RunError, UsageError
from mentorch._freeze import freeze
from mentorch._graph import Graph, View
from mentorch.data import Dataset, LabelSpace
from mentorch.data._splits import subset
from mentorch.losses import Concatenated, cross_entropy, kd, pkt
from mentorch.losses import about as facts
from mentorch.networks import embedding
from mentorch.transferability import Ranking, Row, logme, rank
from mentorch.zoo import Card, Entry, Prepare
from mentorch.zoo import load as load_network

STUDENT = "student"
TEMPERATURE = 4.0
_SHARE = 0.9  # of the loss that comes from teachers who know the classes


@dataclass(frozen=True)
class Suggestion:
    """Who should teach, and how.

    Attributes:
        graph: the student, its frozen teachers, and the edges between them.
        kind: ``distill``: the teachers know the student's classes; ``amalgamate``: together they do;
            ``features``: they know others, and teach how samples relate.
        teachers: node -> its row of the ranking.
        ranking: of the whole zoo.
    """

    graph: Graph
    kind: Literal["distill", "amalgamate", "features"]
    teachers: Mapping[str, Row]
    ranking: Ranking


def suggest(
    zoo: str | Path | Iterable[Entry] | Ranking,
    target: Dataset,
    student: nn.Module,
    *,
    k: int = 1,
    scores: Sequence[Any] = (logme,),
    samples: int = 500,
    view: View | None = None,
    trust: bool = False,
    example: Sequence[Any] | None = None,
) -> Suggestion:
    """The k networks of a zoo that promise most for a target, drawn as teachers of a student.

    They are ranked on training images of the target. What they can teach follows from the classes on their cards. If
    each knows those of the target in their order, the student learns from their logits (``kd``, nine parts, to one of
    the labels). If only together they know them all, from their concatenated logits (``Concatenated``), without labels.
    Else from how their embeddings relate the samples of a batch (``pkt``), beside the labels. Each teacher sees the
    images as its card says.

    Args:
        zoo: a folder, entries of one, or the ranking if there is one already.
        target: what the student is to learn.
        student: learns, under the name ``student``.
        k: teachers.
        scores: see :func:`mentorch.transferability.rank`; the first one decides.
        samples: training images that are scored, balanced over classes.
        view: what the student sees of the inputs.
        trust: see :func:`mentorch.zoo.load`.
        example: see :class:`mentorch.Graph`.

    Raises:
        UsageError: for k below 1, or more than can be ranked.
        RunError: if no network can be ranked, or a teacher cannot be loaded.
    """
    ranking = zoo if isinstance(zoo, Ranking) else _rank(zoo, target, scores, samples, trust)
    if not ranking.ranked:
        raise RunError(f"no network of the zoo can be ranked, the first failed by: {ranking.rows[0].failure}")
    if not 1 <= k <= len(ranking.ranked):
        raise UsageError(f"k must be between 1 and the {len(ranking.ranked)} networks that can be ranked, not {k}")
    chosen = ranking.ranked[:k]
    names = [f"teacher{i + 1}" if k > 1 else "teacher" for i in range(k)]
    loaded = {name: load_network(row.folder, trust=trust) for name, row in zip(names, chosen, strict=True)}
    cards = {name: card for name, (_, card) in loaded.items()}
    networks = {STUDENT: student, **{name: freeze(network) for name, (network, _) in loaded.items()}}
    kind, edges = _edges(networks, cards, target)
    views: dict[str, View] = {name: Prepare(card.input) for name, card in cards.items() if card.input is not None}
    if view is not None:
        views[STUDENT] = view
    return Suggestion(
        Graph(networks, edges, views=views, example=example), kind, dict(zip(names, chosen, strict=True)), ranking
    )


def _rank(
    zoo: str | Path | Iterable[Entry], target: Dataset, scores: Sequence[Any], samples: int, trust: bool
) -> Ranking:
    train = target.train
    shown = train.select(subset(train.labels, min(samples, len(train)), 0))
    return rank(zoo, shown.images, shown.labels, scores=scores, classes=target.num_classes, trust=trust)


def _edges(
    networks: Mapping[str, nn.Module], cards: Mapping[str, Card], target: Dataset
) -> tuple[Literal["distill", "amalgamate", "features"], list[Edge]]:
    """What the teachers can teach, by the classes on their cards."""
    if all(card.classes == target.classes for card in cards.values()):
        soft = functools.partial(kd, temperature=TEMPERATURE)
        edges = [Edge(name, STUDENT, soft, _SHARE / len(cards)) for name in cards]
        return "distill", [Edge("labels", STUDENT, cross_entropy, 1 - _SHARE), *edges]
    together = {name for card in cards.values() for name in card.classes}
    if len(cards) > 1 and set(target.classes) <= together and all(card.classes for card in cards.values()):
        space = LabelSpace.union({name: card.classes for name, card in cards.items()}).only(target.classes)
        blocks = [space.parts[name] for name in cards]
        return "amalgamate", [Edge(tuple(cards), STUDENT, Concatenated(blocks=blocks))]
    place, weight = embedding(networks[STUDENT]), facts(pkt).weight / len(cards)
    relations = [
        Edge(f"{name}.{_embedding(networks[name], card)}", f"{STUDENT}.{place}", pkt, weight)
        for name, card in cards.items()
    ]
    return "features", [Edge("labels", STUDENT, cross_entropy), *relations]


def _embedding(network: nn.Module, card: Card) -> str:
    return card.taps.embedding if card.taps is not None else embedding(network)
