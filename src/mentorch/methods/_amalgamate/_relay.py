"""A student whose layers read codes instead of each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mentorch._graph import View
from mentorch.methods._amalgamate._codes import Group, linear, width
from mentorch.methods._amalgamate._draw import STUDENT


class Relay(nn.Module):
    """A student in which every layer reads the code of the layer before it instead of what that layer made.

    Args:
        student: trained in place.
        groups: of layers.
        view: what the student sees of the inputs.
    """

    def __init__(self, student: nn.Module, groups: Sequence[Group], view: View | None):
        super().__init__()
        self.student, self.view = student, view
        self.places = [group[STUDENT] for group in groups]
        layers = [student.get_submodule(place) for place in self.places]
        # a bias is the layer's own, where it has one: folding must not add tensors to the network
        self.adapt = nn.ModuleList(linear(x, width(x), width(x), bias=x.bias is not None) for x in layers)
        for adapter, layer in zip(self.adapt, layers, strict=True):
            _identity(adapter)
            adapter.to(layer.weight)  # type: ignore[arg-type]

    def forward(self, seen: Mapping[str, Any]) -> dict[str, Tensor]:
        """``layer0`` ... as the layers make them, and ``output``, from ``code0`` ... and ``inputs``."""
        made: dict[str, Tensor] = {}

        def pass_on(number: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
            def hook(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
                made[f"layer{number}"] = output
                adapted: Tensor = self.adapt[number](seen[f"code{number}"])
                return adapted

            return hook

        layers = [self.student.get_submodule(place) for place in self.places]
        handles = [layer.register_forward_hook(pass_on(i)) for i, layer in enumerate(layers)]
        try:
            inputs = seen["inputs"]
            made["output"] = self.student(inputs if self.view is None else self.view(inputs))
        finally:
            for handle in handles:
                handle.remove()
        return made

    @torch.no_grad()
    def fold(self) -> None:
        """Make each adapter part of the layer before it: nothing stands between the two, so it is exact."""
        for adapter, place in zip(self.adapt, self.places, strict=True):
            layer: Any = self.student.get_submodule(place)
            own: Any = adapter
            matrix = own.weight.flatten(1)
            layer.weight.copy_((matrix @ layer.weight.flatten(1)).view_as(layer.weight))
            if layer.bias is not None:
                layer.bias.copy_(matrix @ layer.bias + own.bias)
            _identity(own)


@torch.no_grad()
def _identity(adapter: Any) -> None:
    adapter.weight.copy_(torch.eye(len(adapter.weight)).view_as(adapter.weight))
    if adapter.bias is not None:
        nn.init.zeros_(adapter.bias)
