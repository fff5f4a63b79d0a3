"""What a network makes of images: its embedding and its output, from one forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._tap import Address, Tap
from mentorch.training import evaluating


@dataclass(frozen=True, eq=False)
class Observation:
    """A network on N images.

    Attributes:
        features: at the address, maps and tokens averaged over positions, shape ``[N, D]``.
        output: of the network, shape ``[N, ...]``.
    """

    features: Tensor
    output: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Of the network's own classes, from its logits, shape ``[N, S]``.

        Raises:
            UsageError: if the output is not one number per class.
        """
        if self.output.ndim != 2:
            raise UsageError(f"needs probabilities of classes, and the output is {list(self.output.shape)}")
        return self.output.double().softmax(1)


def observe(network: nn.Module, images: Tensor, *, at: str, batch_size: int = 128) -> Observation:
    """Show a network images, in evaluation mode and without gradients; it is left as it was.

    Args:
        network: what it needs (size, normalisation, order of channels) stands in front of it, see
            :func:`mentorch.zoo.prepared`.
        images: uint8, or floating point in [0, 1], shape ``[N, C, H, W]``.
        at: where features are read: ``"fc:in"`` for the input of a module, ``"layer4"`` for its output.
        batch_size: memory only.

    Raises:
        UsageError: if there is no such module.
        RunError: if nothing passes there, or not one tensor ``[N, ...]``.
    """
    path, _, pick = at.partition(":")
    known = dict(network.named_modules(remove_duplicate=False))
    if path not in known:
        raise unknown("module", path, sorted((name for name in known if name), key=lambda name: name.count("."))[:40])
    tap = Tap(Address("network", path, pick))
    handle = tap.install(network)
    features, outputs = [], []
    try:
        with evaluating(network):
            for batch in torch.split(images, batch_size):
                tap.open()
                outputs.append(_one(network(_float(batch)), len(batch)))
                features.append(_pooled(tap.take(), len(batch), at))
    finally:
        handle.remove()
    return Observation(torch.cat(features), torch.cat(outputs))


def _float(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 255


def _one(output: object, count: int) -> Tensor:
    if not isinstance(output, Tensor) or output.shape[:1] != (count,):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise RunError(f"the network's output for {count} images is {found}, not one tensor with a row for each")
    return output


def _pooled(values: Tensor, count: int, at: str) -> Tensor:
    """Averaged over positions: of maps ``[N, C, H, W]`` over the last two, of tokens ``[N, T, D]`` over the second."""
    if values.shape[:1] != (count,) or values.ndim not in (2, 3, 4):
        raise RunError(
            f"address {at!r}: {count} images have features {list(values.shape)}, not [N, D] or maps or tokens"
        )
    return values.mean((2, 3)) if values.ndim == 4 else values.mean(1) if values.ndim == 3 else values
