"""Networks as the command line names them: by name, as a folder with a card, or as a name with weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mentorch import networks, zoo
from mentorch._errors import UsageError
from mentorch._graph import View
from mentorch.data import Dataset, Normalize
from mentorch.zoo._rebuild import rebuild

_WEIGHTS = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Named:
    """A network with what is known about it.

    Attributes:
        network: the module.
        name: its builder.
        arguments: of the builder.
        source: where its weights are from; empty if they are random.
        view: the normalisation that its card states.
        card: its card, if it has one.
    """

    network: nn.Module
    name: str
    arguments: Mapping[str, Any]
    source: str = ""
    view: View | None = None
    card: zoo.Card | None = None

    @property
    def structure(self) -> tuple[Mapping[str, Any], ...]:
        """How it became smaller than its builder makes it."""
        return self.card.structure if self.card is not None else ()


def split(text: str) -> tuple[str, str | None]:
    """``NAME:WEIGHTS`` as name and path; a name alone, which may hold a colon itself, has no path.

    >>> split("resnet56:teacher.safetensors"), split("timm:resnet18")
    (('resnet56', 'teacher.safetensors'), ('timm:resnet18', None))
    """
    name, _, path = text.rpartition(":")
    return (name, path) if name and path.endswith(_WEIGHTS) else (text, None)


def make(
    text: str,
    data: Dataset,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    new_head: bool = False,
) -> Named:
    """The network of a name, for the classes, channels and size of a data set.

    Args:
        text: a name, ``NAME:WEIGHTS``, or a folder with a card.
        data: what it is for.
        weights: a file, for a name alone.
        options: of the builder, for a name.
        new_head: see :func:`mentorch.networks.load_weights`; for a network that is trained anyway.

    Raises:
        UsageError: for an unknown network, weights or options of one that has its own, or one whose classes or
            channels are not those of the data.
    """
    if (Path(text) / "card.json").is_file():
        if weights or options:
            raise UsageError(f"{text} has its own weights and options: name a network to give it others")
        network, card = zoo.load(text)
        _check_fits(text, card, data)
        seen = Normalize(card.input.mean, card.input.std) if card.input is not None else None
        return Named(network, card.network, card.arguments, source=text, view=seen, card=card)
    if Path(text).is_dir():
        raise UsageError(f"{text} is a folder without card.json: name a zoo folder, or NAME:WEIGHTS")
    name, path = split(text)
    arguments: dict[str, Any] = {"num_classes": data.num_classes, "in_channels": data.channels}
    network = networks.build(name, **arguments, image_size=data.image_size, options=options)
    if ":" in name:
        arguments["image_size"] = data.image_size
    if weights and path:
        raise UsageError(f"{text} already names its weights, {weights} would replace them: say only one")
    path = weights or path
    if path is not None:
        if Path(path).is_dir():
            raise UsageError(
                f"weights {path} are a folder: name the file in it, such as {Path(path) / 'model.safetensors'}"
            )
        networks.load_weights(network, path, new_head=new_head)
    return Named(network, name, {**arguments, **(options or {})}, source=path or "")


def fresh(like: Named) -> nn.Module:
    """A network of the same shape with fresh weights; the random state is left alone."""
    return rebuild(zoo.Card("fresh", like.name, like.arguments, structure=like.structure), trust=True)


def normalisation(mean: Sequence[float] | None, std: Sequence[float] | None, data: Dataset) -> Normalize | None:
    """The input normalisation that was asked for in numbers.

    Raises:
        UsageError: if only one of both was given, or not one number per channel.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None or len(mean) != data.channels or len(std) != data.channels:
        raise UsageError(f"mean and std need one number per channel ({data.channels}) each, got {mean} and {std}")
    return Normalize(mean, std)


def card(
    name: str,
    of: Named,
    data: Dataset,
    view: View | None,
    *,
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    graph: Mapping[str, Any] | None = None,
) -> zoo.Card:
    """The card of a network that was trained here; of the graph that taught it, who was frozen is a parent."""
    mean, std = (0.0,) * data.channels, (1.0,) * data.channels
    if isinstance(view, Normalize):
        mean, std = tuple(view.mean.flatten().tolist()), tuple(view.std.flatten().tolist())
    if of.source and of.card is None:
        training = {**training, "weights": Path(of.source).name}  # what it had seen before
    order = {1: "gray", 3: "rgb", 4: "rgbd"}.get(data.channels, "rgb")
    size = (data.image_size, data.image_size)
    return zoo.Card(
        name=name,
        network=of.name,
        arguments=dict(of.arguments),
        classes=data.classes,
        dataset=data.name,
        input=zoo.Input(data.channels, size, mean, std, order),
        structure=of.structure,
        metrics=metrics,
        training=training,
        parents=tuple(node["hash"] for node in (graph or {}).get("nodes", ()) if "hash" in node),
        edges=tuple(map(_edge_line, (graph or {}).get("edges", ()))),
        fingerprint=data.fingerprint,
    )


def _edge_line(edge: Mapping[str, Any]) -> str:
    """An edge as text.

    >>> _edge_line({"source": ["teacher"], "target": "student", "loss": "kd", "gate": "0.9"})
    'teacher -> student: kd  x 0.9'
    """
    return f"{', '.join(edge['source'])} -> {edge['target']}: {edge['loss']}  x {edge['gate']}"


def _check_fits(text: str, found: zoo.Card, data: Dataset) -> None:
    classes = found.arguments.get("num_classes")
    if classes != data.num_classes:
        raise UsageError(f"{text} knows {classes} classes, {data.name!r} has {data.num_classes}")
    if found.classes and found.classes != data.classes:
        where = next(i for i, pair in enumerate(zip(found.classes, data.classes, strict=True)) if pair[0] != pair[1])
        raise UsageError(
            f"{text} has other classes than {data.name!r}: class {where} is {found.classes[where]!r} there and "
            f"{data.classes[where]!r} here"
        )
    channels = found.arguments.get("in_channels", 3)
    if channels != data.channels:
        raise UsageError(f"{text} reads images of {channels} channels, those of {data.name!r} have {data.channels}")
