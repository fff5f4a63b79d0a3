import pytest
import torch
import torch.nn.functional as F

from mentorch._errors import UsageError
from mentorch.networks import build, wrn, wrn_16_2


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("wrn_16_1", 180_916), ("wrn_16_2", 703_284), ("wrn_40_1", 569_780), ("wrn_40_2", 2_255_156)],
)
def test_sizes_of_distillation_benchmarks(name, parameters):
    assert sum(p.numel() for p in build(name, num_classes=100).parameters()) == parameters


@pytest.mark.parametrize(("depth", "width", "millions"), [(40, 1, 0.6), (40, 2, 2.2), (16, 8, 11.0), (28, 10, 36.5)])
def test_sizes_of_the_paper(depth, width, millions):
    with torch.device("meta"):
        network = wrn(depth, width)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


def test_blocks_against_the_formula():
    torch.manual_seed(0)
    network = wrn_16_2().eval()
    same, changing = network.layer1[1], network.layer2[0]
    x = torch.randn(2, 32, 8, 8)
    y = F.conv2d(F.relu(same.bn1(x)), same.conv1.weight, padding=1)
    y = F.conv2d(F.relu(same.bn2(y)), same.conv2.weight, padding=1)
    torch.testing.assert_close(same(x), x + y)
    activated = F.relu(changing.bn1(x))
    y = F.conv2d(activated, changing.conv1.weight, stride=2, padding=1)
    y = F.conv2d(F.relu(changing.bn2(y)), changing.conv2.weight, padding=1)
    torch.testing.assert_close(changing(x), F.conv2d(activated, changing.shortcut.weight, stride=2) + y)


def test_stage_taps_are_the_activated_maps_of_the_stages():
    torch.manual_seed(0)
    network = wrn_16_2().eval()
    seen = {}
    for path in ("layer1", "layer2.0.bn1", *network.taps.stages):
        network.get_submodule(path).register_forward_hook(lambda m, i, o, p=path: seen.update({p: o}))
    network(torch.randn(2, 3, 16, 16))
    assert [seen[path].shape[1:] for path in network.taps.stages] == [(32, 16, 16), (64, 8, 8), (128, 4, 4)]
    torch.testing.assert_close(seen["layer2.0.relu1"], network.layer2[0].bn1(seen["layer1"]).relu())


def test_stem_is_configurable():
    assert wrn(10, 1, stem=8).conv1.out_channels == 8


@pytest.mark.parametrize(("depth", "width"), [(17, 2), (4, 1), (16, 0)])
def test_impossible_numbers(depth, width):
    with pytest.raises(UsageError, match=f"not {depth}-{width}"):
        wrn(depth, width)
