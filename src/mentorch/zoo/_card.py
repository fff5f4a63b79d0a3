"""What a stored network is: facts, checked when read, without its weights."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from mentorch._errors import UsageError
from mentorch.networks import Taps

SCHEMA = "mentorch.card/1"
Scalar = str | int | float | bool | None
# a misspelled field in a card is an error, not a fact that nobody reads
_STRICT: Mapping[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True)
class Input:
    """What a network expects to be fed.

    Args:
        channels: channels of the images.
        size: height and width.
        mean: per channel, subtracted from values in ``range``.
        std: per channel, divided by; above 0.
        order: of the channels: `rgb`, `bgr`, `gray`, `rgbd`.
        range: smallest and largest value before normalisation.
        resize: how images of another size are brought to ``size``.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "rgb"
    range: tuple[float, float] = (0.0, 1.0)
    resize: str | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise UsageError(f"input has {self.channels} channels, but mean={self.mean} and std={self.std}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std, default=1.0) <= 0:
            raise UsageError(
                f"input is normalised by finite numbers, std above 0, not mean={self.mean}, std={self.std}"
            )


@dataclass(frozen=True)
class Card:
    """A network on disk, described.

    Args:
        name: unique inside a zoo.
        network: a name that `mentorch.networks.build` knows.
        arguments: `num_classes`, `in_channels` (3 if missing), `image_size`, and options of the builder.
        task: what the outputs mean.
        classes: names of the outputs, in order; empty if nobody knows them.
        dataset: what it was trained on, including what it was pre-trained on.
        input: what it expects to be fed.
        structure: how the network became smaller than its builder makes it: recipes of
            `mentorch.structure.Split.recipe`, applied in turn.
        taps: where its features are read, if the network does not say so itself.
        metrics: results by name, such as `{"test": {"accuracy": 0.93}}`.
        training: how it came about: recipe, seed, epochs.
        parents: hashes of the networks it was taught by or made from.
        edges: of the graph that taught it, one line each.
        fingerprint: of the data that it learned from, see :class:`mentorch.data.Dataset`.
        tags: free scalars.
        licence: terms of the weights.
        url: where they come from.
        version: of this network.
        hash: `mentorch.networks.state_hash` of the weights; `save` fills it in.

    Raises:
        UsageError: if the name is empty, or classes and `num_classes` disagree.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    name: str
    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    task: str = "classification"
    classes: tuple[str, ...] = ()
    dataset: str | None = None
    input: Input | None = None
    structure: tuple[Mapping[str, Any], ...] = ()
    taps: Taps | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    fingerprint: str | None = None
    tags: Mapping[str, Scalar] = field(default_factory=dict)
    licence: str | None = None
    url: str | None = None
    version: str = "1"
    hash: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("a card needs a name")
        outputs = self.arguments.get("num_classes")
        if self.classes and outputs is not None and len(self.classes) != outputs:
            raise UsageError(f"card {self.name!r} names {len(self.classes)} classes, its network has {outputs}")
        for item in fields(self):
            if isinstance(value := getattr(self, item.name), Mapping):
                # two cards made from one dictionary are independent of it and of each other
                object.__setattr__(self, item.name, copy.deepcopy(dict(value)))
        object.__setattr__(self, "structure", tuple(copy.deepcopy(dict(recipe)) for recipe in self.structure))


def to_json(card: Card) -> dict[str, Any]:
    """The card as plain values, with the name of their schema."""
    return {"schema": SCHEMA, **asdict(card)}


def from_json(content: Any) -> Card:
    """The card in plain values.

    Raises:
        ValueError: in one line, naming the field that is missing, unknown or of the wrong type.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    try:
        return TypeAdapter(Card).validate_python({key: value for key, value in content.items() if key != "schema"})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'card'}: {first['msg']}") from error
