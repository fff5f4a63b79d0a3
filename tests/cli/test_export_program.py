from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import RunError, UsageError, zoo
from mentorch.cli import _export_program
from mentorch.networks import branched, segnet_tiny

INPUT = zoo.Input(3, (16, 24), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))


def card(**more: object) -> zoo.Card:
    return zoo.Card("n", "any", input=INPUT, **more)


class Told(nn.Module):
    """A network whose program cannot be what it is."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, images: Tensor) -> object:
        self.calls += 1
        if self.how == "by value":
            return images.mean((1, 2, 3)) if images.sum().item() > 0 else images.sum((1, 2, 3))
        if self.how == "by turn":
            return images.mean((1, 2, 3)) * self.calls
        return [images]


def test_outputs_of_several_tasks_keep_their_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = branched(segnet_tiny(1), {"segmentation": (segnet_tiny(7), 3), "depth": (segnet_tiny(1), 1)}).eval()
    told = _export_program.torch_program(network, card(), tmp_path / "x.pt2", False)
    assert "[N, 3, 16, 24] -> segmentation [N, 7, 16, 24], depth [N, 1, 16, 24]" in told
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        found, expected = torch.export.load(tmp_path / "x.pt2").module()(images), network(images)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)


@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        ("by value", RunError, "Told cannot be traced by torch.export"),
        ("by turn", RunError, "'output' is .* apart"),
        ("a list", UsageError, "not list"),
    ],
)
def test_what_is_not_the_network_is_not_written(tmp_path: Path, how: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as one:
        _export_program.torch_program(Told(how), card(), tmp_path / "x.pt2", False)
    assert "\n" not in str(one.value)
    assert not list(tmp_path.iterdir())


def test_a_card_without_input_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="card 'n' does not say what its network is fed"):
        _export_program.torch_program(nn.Flatten(), zoo.Card("n", "any"), tmp_path / "x.pt2", False)
