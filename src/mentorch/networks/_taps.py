"""Where a network offers its tensors to be read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mentorch._errors import UsageError


@dataclass(frozen=True)
class Taps:
    """Addresses inside a network, relative to the network itself.

    Args:
        stem: the map after the first layers, before the first stage.
        stages: the map each stage hands on, shallow to deep, after its activation.
        embedding: the vector that enters the classifier.

    >>> Taps("relu", ("layer1", "layer2"), "fc:in").stages[-1]
    'layer2'
    """

    stem: str
    stages: tuple[str, ...]
    embedding: str


def taps(network: nn.Module) -> Taps:
    """The taps of ``network``: its own ``taps`` attribute, or what timm records about it.

    The first map in timm's records counts as the stem, the others as stages.

    Raises:
        UsageError: if the network says nothing about itself; its addresses must then be named.
    """
    own = getattr(network, "taps", None)
    if isinstance(own, Taps):
        return own
    found = _timm_taps(network)
    if found is None:
        children = ", ".join(name for name, _ in network.named_children()) or "none"
        raise UsageError(
            f"{type(network).__name__} has no taps: name the address, such as --tap embedding=fc:in "
            f"(its top modules: {children})"
        )
    return found


def _timm_taps(network: nn.Module) -> Taps | None:
    """Taps from timm's ``feature_info`` and the classifier name of its configuration, if both name real modules."""
    maps = _feature_modules(getattr(network, "feature_info", None))
    configuration = getattr(network, "pretrained_cfg", None)
    classifier = configuration.get("classifier") if isinstance(configuration, Mapping) else None
    modules = dict(network.named_modules())
    if len(maps) < 2 or not isinstance(classifier, str) or not {classifier, *maps} <= modules.keys():
        return None
    return Taps(maps[0], tuple(maps[1:]), f"{classifier}:in")


def _feature_modules(records: Any) -> list[str]:
    """The module names in timm's ``feature_info``, which is a list of dictionaries or an object around one."""
    records = getattr(records, "info", records)
    if not isinstance(records, Iterable):
        return []
    return [str(record.get("module", "")) for record in records if isinstance(record, Mapping)]
