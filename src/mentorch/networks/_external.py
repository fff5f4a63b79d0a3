"""Networks that live in other packages: timm, transformers, anything importable."""

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown

Options = Mapping[str, Any]
Size = int | tuple[int, int] | None


def timm_network(name: str, num_classes: int, in_channels: int, image_size: Size, options: Options) -> nn.Module:
    """A timm network, without pre-trained weights unless ``options`` asks for them.

    Raises:
        UsageError: if timm is not installed, has no such network, or refuses the options.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageError("timm is not installed: pip install 'mentorch[vision]'") from error
    if not timm.is_model(name.partition(".")[0]):
        raise unknown("timm network", name, timm.list_models())
    if "checkpoint_path" in options:
        # timm unpickles it without restraint
        raise UsageError(f"timm:{name} takes no checkpoint_path: use mentorch.networks.load_weights")
    arguments = {"pretrained": False, "num_classes": num_classes, "in_chans": in_channels, **options}
    configuration = timm.get_pretrained_cfg(name)
    # only networks with position embeddings and the like are built for one size
    if image_size is not None and configuration is not None and configuration.fixed_input_size:
        arguments.setdefault("img_size", image_size)
    try:
        network: nn.Module = timm.create_model(name, **arguments)
    except TypeError as error:
        raise UsageError(f"timm:{name} cannot be built with {arguments}: {error}") from error
    return network


class Logits(nn.Module):
    """A transformers classifier as a plain network: images `[N, C, H, W]` to logits `[N, K]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def hf_network(name: str, num_classes: int, in_channels: int, image_size: Size, options: Options) -> nn.Module:
    """A transformers image classifier.

    ``name`` is a model type (`resnet`, `vit`: random weights, ``options`` go to its configuration), else a local
    folder or a hub name (its own configuration and weights, safetensors only, never code).

    Raises:
        UsageError: if transformers is not installed, cannot make such a classifier, or its classes differ in number.
        RunError: if the folder or the hub cannot be read.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError("transformers is not installed: pip install 'mentorch[hf]'") from error
    factory = transformers.AutoModelForImageClassification
    sizes = {} if image_size is None else {"image_size": image_size}
    if not Path(name).exists() and name in transformers.CONFIG_MAPPING:
        arguments = {"num_labels": num_classes, "num_channels": in_channels, **sizes, **options}
        try:
            configuration = transformers.AutoConfig.for_model(name, **arguments)
            return Logits(factory.from_config(configuration, trust_remote_code=False))
        except (TypeError, ValueError) as error:
            raise UsageError(f"hf:{name} cannot be built with {arguments}: {_first_line(error)}") from error
    if options:
        raise UsageError(f"hf:{name} comes with its own configuration and takes no options, not {dict(options)}")
    try:
        network = factory.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RunError(f"hf:{name} cannot be loaded: {_first_line(error)}") from error
    if network.config.num_labels != num_classes:
        raise UsageError(f"hf:{name} knows {network.config.num_labels} classes, not {num_classes}")
    return Logits(network)


def imported_network(name: str, num_classes: int, in_channels: int, options: Options) -> nn.Module:
    """What the callable behind `package.module:callable` returns for ``num_classes`` and ``in_channels``.

    ``in_channels`` is left out when it is 3 and the callable does not name it, so that `torchvision.models:resnet18`
    works as it is.

    Raises:
        UsageError: if it cannot be imported, cannot be called so, or does not return a module.
    """
    module_name, _, attribute = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"network {name!r} cannot be imported: {error}") from error
    if not callable(builder):
        raise UsageError(f"network {name!r} is {type(builder).__name__}, not a callable")
    signature = inspect.signature(builder)
    arguments: dict[str, Any] = {"num_classes": num_classes, **options}
    if in_channels != 3 or "in_channels" in signature.parameters:
        arguments["in_channels"] = in_channels
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UsageError(f"network {name!r} must accept {json.dumps(sorted(arguments))}: {error}") from error
    network = builder(**arguments)
    if not isinstance(network, nn.Module):
        raise UsageError(f"network {name!r} returned {type(network).__name__}, not a torch.nn.Module")
    return network


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
