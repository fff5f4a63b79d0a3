"""Networks of timm and of transformers, with what these know about them, ready for a zoo."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch.networks import build
from mentorch.zoo._card import Card, Input

_CONSTANTS = ("transformers_version", "architectures", "dtype", "torch_dtype", "model_type", "id2label", "label2id")


def from_timm(name: str, *, pretrained: bool = True, num_classes: int | None = None) -> tuple[nn.Module, Card]:
    """A timm network and its card, from timm's own records.

    Args:
        name: of the network, with or without the tag of its weights.
        pretrained: fetch timm's weights, from its hub or its cache.
        num_classes: other than those of its weights, only without them.

    Raises:
        UsageError: if timm is not installed or has no such network.
        RunError: if the weights cannot be fetched.
    """
    if pretrained and num_classes is not None:
        raise UsageError(f"timm:{name} has as many classes as its weights: num_classes is for one without them")
    facts = _timm_facts(name)
    classes = facts.get("num_classes", 1000) if num_classes is None else num_classes
    channels, *size = facts["input_size"]
    try:
        network = build(
            f"timm:{name}",
            num_classes=classes,
            in_channels=channels,
            image_size=(size[0], size[1]),
            options={"pretrained": True} if pretrained else None,
        )
    except (OSError, RuntimeError) as error:
        raise RunError(f"the weights of timm:{name} cannot be had: {str(error).strip().splitlines()[0]}") from error
    card = Card(
        name=name,
        network=f"timm:{name}",
        arguments={"num_classes": classes, "in_channels": channels, "image_size": list(size)},
        dataset=str(facts["tag"]) if pretrained and facts.get("tag") else None,
        input=Input(
            channels,
            (size[0], size[1]),
            tuple(facts["mean"]),
            tuple(facts["std"]),
            resize="crop" if facts.get("crop_mode", "center") == "center" else "stretch",
        ),
        licence=facts.get("license") if pretrained else None,
        url=(facts.get("origin_url") or facts.get("url") or None) if pretrained else None,
    )
    return network, card


def from_hf(name: str) -> tuple[nn.Module, Card]:
    """A transformers image classifier, its classes, and what its preprocessor does.

    The card keeps the configuration, not the place: the network is rebuilt from it without the hub.

    Args:
        name: a local folder, or a name on the hub; safetensors only, never code.

    Raises:
        UsageError: if transformers is not installed, or it is no classifier of images.
        RunError: if it cannot be read.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise UsageError("transformers is not installed: pip install 'mentorch[hf]'") from error
    try:
        configuration = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RunError(f"hf:{name} cannot be read: {str(error).strip().splitlines()[0]}") from error
    network = build(f"hf:{name}", num_classes=configuration.num_labels)
    options = {key: value for key, value in configuration.to_diff_dict().items() if key not in _CONSTANTS}
    channels, size = options.pop("num_channels", 3), options.pop("image_size", None)
    arguments = {"num_classes": configuration.num_labels, "in_channels": channels, **options}
    if size is not None:
        arguments["image_size"] = size
    labels = [str(configuration.id2label[i]) for i in range(configuration.num_labels)]
    card = Card(
        name=Path(name).name,
        network=f"hf:{configuration.model_type}",
        arguments=arguments,
        classes=() if labels == [f"LABEL_{i}" for i in range(len(labels))] else tuple(labels),
        input=_hf_input(name, channels),
        url=None if Path(name).exists() else f"https://huggingface.co/{name}",
    )
    return network, card


def _timm_facts(name: str) -> Mapping[str, Any]:
    try:
        import timm
    except ImportError as error:
        raise UsageError("timm is not installed: pip install 'mentorch[vision]'") from error
    configuration = timm.get_pretrained_cfg(name)
    if configuration is None:
        raise UsageError(f"timm keeps no record of {name!r}: make its card yourself, mentorch.zoo.Card")
    facts: Mapping[str, Any] = configuration.to_dict()
    return facts


def _hf_input(name: str, channels: int) -> Input | None:
    """What the preprocessor's configuration says, if there is one."""
    from transformers.utils import cached_file

    path = cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    facts = json.loads(Path(path).read_text(encoding="utf-8"))
    size = facts.get("crop_size") if facts.get("do_center_crop") else facts.get("size")
    side = size if isinstance(size, int) else None
    height, width = (side, side) if side else (_side(size, "height"), _side(size, "width"))
    if height is None or width is None:
        return None
    # values are what is left of 0..255 after rescaling
    top = 255 * float(facts.get("rescale_factor", 1 / 255)) if facts.get("do_rescale", True) else 255.0
    normal = facts.get("do_normalize", True)
    mean = tuple(facts.get("image_mean", (0.0,) * channels)) if normal else (0.0,) * channels
    std = tuple(facts.get("image_std", (1.0,) * channels)) if normal else (1.0,) * channels
    crop = "crop" if facts.get("do_center_crop") else "stretch"
    order = {1: "gray", 3: "rgb"}.get(channels, "rgb")
    return Input(channels, (height, width), mean, std, order, (0.0, top), crop)


def _side(size: Any, name: str) -> int | None:
    """Of ``{"height": 224, "width": 224}`` or ``{"shortest_edge": 224}``."""
    if not isinstance(size, Mapping):
        return None
    value = size.get(name, size.get("shortest_edge"))
    return value if isinstance(value, int) else None
