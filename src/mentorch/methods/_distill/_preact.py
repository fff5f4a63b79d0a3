"""Where a stage is before its last activation."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

from mentorch._math import written

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish)


def before_activation(network: nn.Module, stages: Iterable[str], run: Callable[[], Any]) -> dict[str, str]:
    """For each stage the input of the activation that gives its output; where none does that runs once, the stage.

    >>> import torch
    >>> network = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
    >>> before_activation(network, ["0", "1"], lambda: network(torch.rand(1, 3)))
    {'0': '0.1:in', '1': '1'}
    """
    passed: list[tuple[str, Tensor, int]] = []
    ends: dict[str, str] = {}

    def passes(path: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        passed.append((path, output, written(output)))

    def ended(stage: str, module: nn.Module, inputs: Any, output: Any) -> None:
        for path, made, version in reversed(passed):
            if made is output and version == written(output):  # the same, and nothing was added to it since
                ends[stage] = path
                return

    parts = [(path, module) for path, module in network.named_modules() if isinstance(module, _ACTIVATIONS)]
    handles = [module.register_forward_hook(partial(passes, path)) for path, module in parts]
    whole = [stage for stage in stages if ":" not in stage]
    handles += [network.get_submodule(stage).register_forward_hook(partial(ended, stage)) for stage in whole]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(path for path, *_ in passed)
    return {stage: f"{ends[stage]}:in" if times[ends.get(stage, "")] == 1 else stage for stage in stages}
