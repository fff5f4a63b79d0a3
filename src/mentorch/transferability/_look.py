"""One network on a target; what is expensive is computed when first asked for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks import embedding
from mentorch.transferability._explain import Reading, explain
from mentorch.transferability._features import Features
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._observe import Observation, observe
from mentorch.zoo import Card, prepared

Score = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Target:
    """What every network is scored on."""

    images: Tensor
    labels: Tensor
    at: str | None
    probes: int
    batch_size: int
    trust: bool
    reference: tuple[nn.Module, Card] | None

    def look(self, network: nn.Module, card: Card) -> "Look":
        """A network where the images are, with what its card says in front of it."""
        return Look(self, prepared(network, card).to(self.images.device), f"network.{_address(network, card, self.at)}")

    @cached_property
    def known(self) -> "Look":
        """The reference."""
        if self.reference is None:
            raise UsageError("there is no reference to compare with")
        return self.look(*self.reference)


@dataclass(frozen=True, eq=False)
class Look:
    """One network, prepared for the images of a target, and where its features are read."""

    target: Target
    network: nn.Module
    at: str

    @cached_property
    def seen(self) -> Observation:
        """The labelled images, passed once."""
        return observe(self.network, self.target.images, at=self.at, batch_size=self.target.batch_size)

    @cached_property
    def features(self) -> Features:
        """With the factorization that scores share."""
        return Features(self.seen.features)

    @cached_property
    def reading(self) -> Reading:
        """Attributions on the probes."""
        probes = self.target.images[: self.target.probes]
        probes = probes if probes.is_floating_point() else probes.float() / 255
        return explain(self.network, probes, at=self.at, batch_size=self.target.batch_size)

    def score(self, score: Score, info: ScoreInfo) -> Tensor:
        """One score, from what it needs."""
        kinds = {"features": lambda look: look.features, "attributions": lambda look: look.reading}
        values: list[object] = []
        for need in info.needs:
            if need == "labels":
                values.append(self.target.labels)
            elif need == "probabilities":
                values.append(self.seen.probabilities)
            elif need == "reference":
                values.append(kinds[info.needs[0]](self.target.known))
            else:
                values.append(kinds[need](self))
        return score(*values)


def _address(network: nn.Module, card: Card, at: str | None) -> str:
    if at is not None:
        return at
    return card.taps.embedding if card.taps is not None else embedding(network)


def info_of(score: Score) -> ScoreInfo:
    """Facts about a score of this package, also with options bound.

    Raises:
        UsageError: for anything else.
    """
    function = getattr(score, "func", score)
    infos: tuple[ScoreInfo, ...] = getattr(sys.modules.get(getattr(function, "__module__", "")), "INFO", ())
    info = next((info for info in infos if info.function is function), None)
    if info is None:
        raise UsageError(f"{getattr(function, '__name__', function)} is not a score of mentorch.transferability")
    return info


def title(score: Score) -> str:
    """A score with the options that were bound to it.

    >>> from functools import partial
    >>> from mentorch.transferability import knn
    >>> title(knn), title(partial(knn, k=5))
    ('knn', 'knn(k=5)')
    """
    options = ", ".join(f"{key}={value}" for key, value in getattr(score, "keywords", {}).items())
    name: str = getattr(score, "func", score).__name__
    return f"{name}({options})" if options else name
