"""Where the vector is that a network classifies by."""

from collections.abc import Mapping

from torch import nn

from mentorch._errors import UsageError
from mentorch.networks._external import Logits
from mentorch.networks._taps import taps


def embedding(network: nn.Module) -> str:
    """The address of what enters the classifier, relative to the network itself.

    What the network says of itself (`taps`), else the classifier that timm or transformers name. Nothing is guessed
    from the order of modules.

    Raises:
        UsageError: if the network says nothing; the address must then be named.

    >>> from mentorch.networks import resnet8
    >>> embedding(resnet8())
    'fc:in'
    """
    if isinstance(network, Logits) and isinstance(getattr(network.network, "classifier", None), nn.Module):
        return "network.classifier:in"
    configuration = getattr(network, "pretrained_cfg", None)
    classifier = configuration.get("classifier") if isinstance(configuration, Mapping) else None
    if isinstance(classifier, str) and classifier in dict(network.named_modules()):
        return f"{classifier}:in"
    try:
        return taps(network).embedding
    except UsageError as error:
        children = ", ".join(name for name, _ in network.named_children()) or "none"
        raise UsageError(
            f"{type(network).__name__} does not say where its embedding is: name the address, such as fc:in, or write "
            f"taps into its card (its top modules: {children})"
        ) from error
