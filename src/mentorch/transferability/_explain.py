"""Attribution maps and features of a network on a set of probes."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch.transferability._checks import check_finite, warn
from mentorch.transferability._lens import MODEL_SELECTION, Lens


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network looks at, and what it makes of it, on P probes.

    Attributes:
        maps: attributions, averaged over channels, shape ``[P, H, W]`` (for inputs that are vectors ``[P, D]``).
        features: at the address, flattened, shape ``[P, ...]``.
        lens: how it was asked, in words.
        probes: fingerprint of the probes.
        centred: whether the mean of features over probes is taken off before they are compared; from the lens.
    """

    maps: Tensor
    features: Tensor
    lens: str
    probes: str
    centred: bool = True


def fingerprint(probes: Tensor) -> str:
    """SHA-256 of the shape and the values, as float32, of a set of probes.

    >>> fingerprint(torch.zeros(2, 3)) == fingerprint(torch.zeros(2, 3)) != fingerprint(torch.zeros(3, 2))
    True
    """
    data = probes.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(f"{list(data.shape)}".encode() + data.numpy().tobytes()).hexdigest()


def explain(
    network: nn.Module, probes: Tensor, lens: Lens = MODEL_SELECTION, *, at: str = "", batch_size: int = 64
) -> Reading:
    """Attribution maps and features of a network, one forward and one backward pass per batch of probes.

    Maps of networks can be compared when all take the same probes: what a network needs (another size, normalisation,
    order of channels) belongs in front of it, ``nn.Sequential(Normalize(mean, std), network)``, and is explained with
    it. The network is put in evaluation mode and left as it was found: modes, hooks and gradients.

    Args:
        network: from probes to a tensor.
        probes: the same for all networks, shape ``[P, C, H, W]`` or ``[P, D]``, P > 1.
        lens: rule, scalar and signs.
        at: where features are read and what is explained: a module's path, ``"fc:in"`` for its input, or empty for the
            network's output.
        batch_size: probes at once; memory only.

    Raises:
        UsageError: if there is no such module, for fewer than 2 probes, or integers.
        RunError: if the address is not one tensor, a value is not finite, features do not depend on the probes, or no
            map is other than zero.

    References:
        Song et al., "Deep Model Transferability from Attribution Maps", NeurIPS 2019, arXiv 1909.11902, section 3.
    """
    if len(probes) < 2:
        raise UsageError(f"explain: needs 2 probes or more, got {len(probes)}")
    if not probes.is_floating_point():
        raise UsageError(f"explain: needs probes in floating point, as gradients are taken, got {probes.dtype}")
    score = _Score(network, at, lens)
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        with torch.inference_mode(False):  # also where the caller needs no gradients
            own = probes.clone() if probes.is_inference() else probes
            parts = [_part(score, lens, batch) for batch in torch.split(own, batch_size)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    maps, features = (torch.cat(column) for column in zip(*parts, strict=True))
    _check(maps, features, at)
    return Reading(maps, features, str(lens), fingerprint(probes), lens.centred)


class _Score(nn.Module):
    """One number per input: the scalar of what is at the address, which is kept."""

    def __init__(self, network: nn.Module, at: str, lens: Lens):
        super().__init__()
        self.network = network
        self.path, _, self.pick = at.partition(":")
        self.place, self.scalar = f"address {at!r}" if at else "the output of the network", lens.scalar
        self.found: list[Tensor] = []
        known = dict(network.named_modules(remove_duplicate=False))
        if self.path not in known:
            shallow = sorted((name for name in known if name), key=lambda name: (name.count("."), name))
            raise unknown("module", self.path, shallow[:40])
        if self.pick not in ("", "in") or (self.pick and not self.path):
            raise UsageError(f"explain: address {at!r} is not a module's path, 'module:in', or empty")

    def forward(self, inputs: Tensor) -> Tensor:
        self.found = []
        with _hooked(self.network.get_submodule(self.path), self._keep, before=bool(self.pick)):
            self.network(inputs.clone())  # a first layer may work in place
        if len(self.found) != 1:
            raise RunError(f"{self.place} is passed {len(self.found)} times in a forward pass, not once")
        value: Tensor = self.scalar(self.found[0])
        return value

    def _keep(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise RunError(f"{self.place} is not a tensor but a {type(value).__name__}")
        self.found.append(value.clone())  # a later layer may work in place


@contextlib.contextmanager
def _hooked(module: nn.Module, keep: Any, *, before: bool) -> Iterator[None]:
    """Show ``keep`` what enters or leaves a module, inside the context only."""
    if before:
        handle = module.register_forward_pre_hook(lambda _, args: keep(args[0] if args else None))
    else:
        handle = module.register_forward_hook(lambda _module, _args, output: keep(output))
    try:
        yield
    finally:
        handle.remove()


def _part(score: _Score, lens: Lens, batch: Tensor) -> tuple[Tensor, Tensor]:
    maps = lens.rule(score, batch).detach()
    features = score.found[0].detach()[: len(batch)]  # some rules pass references behind the probes
    maps = maps.abs() if lens.absolute else maps
    return maps.mean(1) if maps.ndim > 2 else maps, features.flatten(1).clone()


def _check(maps: Tensor, features: Tensor, at: str) -> None:
    place = f"at {at!r}" if at else "of the output"
    check_finite(f"explain: features {place}", features)
    check_finite(f"explain: attributions {place}", maps)
    if (features == features[0]).all():
        raise RunError(f"explain: features {place} are the same for all probes: they say nothing about the network")
    blank = int((maps.flatten(1) == 0).all(1).sum())
    if blank == len(maps):
        raise RunError(f"explain: features {place} do not depend on the probes: all attributions are zero")
    if blank:
        warn(f"explain: attributions {place} are zero for {blank} of {len(maps)} probes, which count as similarity 0")
