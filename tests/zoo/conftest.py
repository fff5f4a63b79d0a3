"""A small network, its card, and folders of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mentorch import zoo
from mentorch.networks import ResNet, resnet8

ARGUMENTS = {"num_classes": 3, "in_channels": 1, "widths": [4, 6, 8], "stem": 4}


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """``keep(name, folder, **facts)``: a network of its own random weights, stored in the test's folder."""

    def make(name: str, folder: str = "", **facts: object) -> Path:
        torch.manual_seed(sum(map(ord, name)))
        network: ResNet = resnet8(3, 1, widths=(4, 6, 8), stem=4)
        place = tmp_path / (folder or name)
        zoo.save(network, place, zoo.Card(name, "resnet8", ARGUMENTS, **facts))
        return place

    return make
