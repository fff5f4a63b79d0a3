"""What the layers of all teachers hold together, and smaller codes for it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._freeze import freeze
from mentorch._graph import View
from mentorch._tap import Tap, parse

Group = Mapping[str, str]
"""Node -> module: one layer of the student and those of the teachers that it is to hold."""


def read(network: nn.Module, places: Sequence[str], inputs: Any) -> tuple[list[Tensor], Any]:
    """What modules of a network show for these inputs, and its output."""
    taps = [Tap(parse(f"network.{place}", {"network": network})) for place in places]
    handles = [tap.install(network) for tap in taps]
    try:
        for tap in taps:
            tap.open()
        output = network(inputs)
        return [tap.take() for tap in taps], output
    finally:
        for handle in handles:
            handle.remove()


class Seen(nn.Module):
    """The view of all stages: inputs, the teachers' logits, and per group their features, joined along the channels.

    Maps are averaged down to the size of the student's. It has no gradient.

    Args:
        teachers: frozen networks.
        groups: of layers.
        shapes: of the student's layers, without the batch.
        views: per teacher.
    """

    def __init__(
        self,
        teachers: Mapping[str, nn.Module],
        groups: Sequence[Group],
        shapes: Sequence[torch.Size],
        views: Mapping[str, View],
    ):
        super().__init__()
        self.teachers, self.groups, self.shapes, self.views = nn.ModuleDict(teachers), groups, shapes, views

    @torch.no_grad()
    def forward(self, inputs: Any) -> dict[str, Any]:
        features: list[list[Tensor]] = [[] for _ in self.groups]
        seen: dict[str, Any] = {"inputs": inputs}
        for name, teacher in self.teachers.items():
            places = [group[name] for group in self.groups]
            shown, seen[f"of_{name}"] = read(teacher, places, self.views.get(name, _as_it_is)(inputs))
            for i, feature in enumerate(shown):
                features[i].append(_fitted(feature, self.shapes[i], f"{name}.{places[i]}"))
        for i, parts in enumerate(features):
            seen[f"layer{i}"] = torch.cat(parts, channels(parts[0]))
        return seen


def channels(feature: Tensor) -> int:
    """The axis of the channels: of maps the second, of vectors and tokens the last."""
    return 1 if feature.ndim == 4 else feature.ndim - 1


def _as_it_is(inputs: Any) -> Any:
    return inputs


def _fitted(feature: Tensor, shape: torch.Size, where: str) -> Tensor:
    """A feature at the positions of the student's."""
    wanted = shape[1:] if len(shape) == 3 else shape[:-1]
    found = feature.shape[2:] if feature.ndim == 4 else feature.shape[1:-1]
    if feature.ndim == len(shape) + 1 and found == wanted:
        return feature
    if feature.ndim != 4 or len(shape) != 3 or any(a < b for a, b in zip(found, wanted, strict=True)):
        raise UsageError(
            f"{where} shows {list(feature.shape[1:])}, the student's layer {list(shape)}: a layer can hold maps of its "
            "own size or larger ones, and vectors or tokens of the same number"
        )
    return F.adaptive_avg_pool2d(feature, (wanted[0], wanted[1]))


def linear(layer: nn.Module, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """A linear map over channels, of the kind that fits the outputs of a layer."""
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(inputs, outputs, 1, bias=bias)
    return nn.Linear(inputs, outputs, bias=bias)


class Codes(nn.Module):
    """A linear auto-encoder for each group: its code has as many channels as the student's layer.

    Args:
        layers: the student's.
        totals: channels of the teachers' joined features, per group.
    """

    def __init__(self, layers: Sequence[nn.Module], totals: Sequence[int]):
        super().__init__()
        own = [width(layer) for layer in layers]
        triples = list(zip(layers, totals, own, strict=True))
        self.encode = nn.ModuleList(linear(layer, total, code) for layer, total, code in triples)
        self.decode = nn.ModuleList(linear(layer, code, total) for layer, total, code in triples)

    def forward(self, seen: Mapping[str, Any]) -> dict[str, Tensor]:
        """The features rebuilt from their codes."""
        pairs = zip(self.encode, self.decode, strict=True)
        return {f"layer{i}": decode(encode(seen[f"layer{i}"])) for i, (encode, decode) in enumerate(pairs)}

    @torch.no_grad()
    def solve(self, view: Seen, train: Iterable[Any]) -> None:
        """Set all weights to the optimum, principal components, in one pass over the data."""
        count = [0] * len(self.encode)
        first: list[Any] = [0.0] * len(self.encode)
        second: list[Any] = [0.0] * len(self.encode)
        for batch in train:
            seen = view(batch if isinstance(batch, Tensor) else batch[0])
            for i in range(len(self.encode)):
                feature = seen[f"layer{i}"].double()
                rows = feature.movedim(channels(feature), -1).flatten(0, -2)  # [samples and positions, channels]
                count[i] += len(rows)
                first[i], second[i] = first[i] + rows.sum(0), second[i] + rows.mT @ rows
        for i, (encode, decode) in enumerate(zip(self.encode, self.decode, strict=True)):
            mean = first[i] / count[i]
            _, basis = torch.linalg.eigh(second[i] / count[i] - mean.outer(mean))
            kept = basis.flip(1)[:, : width(encode)]  # [channels, codes], the largest first
            # a code wider than all features together has channels that stay 0
            axes = F.pad(kept, (0, width(encode) - kept.shape[1]))
            pairs: Any = ((encode, axes.mT, -(mean @ axes)), (decode, axes, mean))
            for layer, weight, bias in pairs:
                layer.weight.copy_(weight.reshape(layer.weight.shape))
                layer.bias.copy_(bias)


def width(layer: nn.Module) -> int:
    """Output channels of a layer."""
    return len(layer.get_parameter("weight"))


class Coded(nn.Module):
    """The view of the second stage: what was seen, and its codes.

    Args:
        seen: the view of the first stage.
        codes: trained; frozen from here on.
    """

    def __init__(self, seen: Seen, codes: Codes):
        super().__init__()
        self.seen, self.codes = seen, freeze(codes)

    @torch.no_grad()
    def forward(self, inputs: Any) -> dict[str, Any]:
        seen: dict[str, Any] = self.seen(inputs)
        return seen | {f"code{i}": encode(seen[f"layer{i}"]) for i, encode in enumerate(self.codes.encode)}
