"""One network of a zoo, from its folder to its embedding."""

import json
import warnings
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from mentorch import zoo
from mentorch._errors import unknown
from mentorch.networks import taps
from mentorch.transferability._checks import Uninformative
from mentorch.transferability._embedding import Frame
from mentorch.transferability._explain import explain
from mentorch.transferability._lens import MODEL_SELECTION, Lens

_IDENTITY = ("hash", "network", "arguments", "structure", "input", "taps")


@dataclass(frozen=True, eq=False)
class Task:
    """What is done to each network: all that a process needs to know.

    Attributes:
        frame: of all embeddings.
        probes: RGB images in [0, 1], shape ``[P, 3, H, W]``.
        lens: as in the frame.
        at: where features are read in each network; empty: where its taps have its embedding.
        trust: see :func:`mentorch.zoo.load`.
        batch_size: probes at once; memory only.
    """

    frame: Frame
    probes: Tensor
    lens: Lens = MODEL_SELECTION
    at: str = ""
    trust: bool = False
    batch_size: int = 64

    def key(self, card: zoo.Card) -> str:
        """Name of a network's embedding by content: weights, how they become a network, its input, and the address."""
        facts = asdict(card)
        used = {name: facts[name] for name in _IDENTITY}
        return self.frame.key(json.dumps([self.at, used], sort_keys=True))

    def __call__(self, entry: zoo.Entry) -> tuple[Tensor, Tensor]:
        """Nodes and edges of a network: its weights are verified, and it is shown the probes as its card wants them.

        Raises:
            Exception: whatever stands against it: damaged or other weights, no such address, values that are not
                finite, features that do not depend on the probes.
        """
        network, card = entry.load(trust=self.trust)
        at = _address(network, self.at)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Uninformative)  # maps of zeros are counted in the embedding
            eye = zoo.prepared(network.float(), card)
            reading = explain(eye, self.probes, self.lens, at=f"network.{at}", batch_size=self.batch_size)
            return self.frame.embed(reading)


def _address(network: nn.Module, asked: str) -> str:
    """The address, if there is such a module."""
    at = asked or taps(network).embedding
    known = [name for name, _ in network.named_modules() if name]
    if (path := at.partition(":")[0]) not in known:
        raise unknown("module", path, sorted(known, key=lambda name: (name.count("."), name))[:12])
    return at
