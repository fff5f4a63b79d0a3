import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import Bottleneck, ResNet, build, resnet, resnet8, resnet8x4, resnet20, resnet_karanchahal
from mentorch.networks._resnet import PadShortcut


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # table 6 of the paper, 10 classes
        ("resnet20", 10, 0.27e6),
        ("resnet32", 10, 0.46e6),
        ("resnet44", 10, 0.66e6),
        ("resnet56", 10, 0.85e6),
        ("resnet110", 10, 1.7e6),
        # distillation benchmarks, 100 classes
        ("resnet8x4", 100, 1_233_540),
        ("resnet32x4", 100, 7_433_860),
        # the CIFAR form of the ImageNet networks
        ("resnet18", 10, 11_173_962),
        ("resnet34", 10, 21_282_122),
        ("resnet50", 100, 23_705_252),
    ],
)
def test_published_sizes(name, classes, parameters):
    assert size(build(name, num_classes=classes)) == pytest.approx(parameters, rel=0.02 if parameters < 1e7 else 0)


@pytest.mark.parametrize(
    ("depth", "parameters"), [(8, 83_892), (14, 181_108), (20, 278_324), (56, 861_620), (110, 1_736_564)]
)
def test_convolution_shortcuts_as_in_distillation_benchmarks(depth, parameters):
    assert size(resnet(depth, 100, shortcut="conv")) == parameters


@given(depth=st.integers(1, 6).map(lambda n: 6 * n + 2), stem=st.integers(1, 8), in_channels=st.integers(1, 5))
def test_size_in_closed_form(depth, stem, in_channels):
    widths, n = (8, 12, 20), (depth - 2) // 6
    convolutions = 9 * (in_channels * stem + sum((2 * n - 1) * w * w for w in widths))
    convolutions += 9 * (stem * 8 + 8 * 12 + 12 * 20)
    norms = 2 * (stem + sum(2 * n * w for w in widths))
    network = resnet(depth, 5, in_channels, stem=stem, widths=widths)
    assert size(network) == convolutions + norms + 20 * 5 + 5


def test_pad_shortcut_is_option_a():
    x = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).reshape(2, 3, 5, 4)
    y = PadShortcut(3, 6, 2)(x)
    assert y.shape == (2, 6, 3, 2)
    assert torch.equal(y[:, 1:4], x[:, :, ::2, ::2])
    assert y[:, 0].abs().sum() == 0
    assert y[:, 4:].abs().sum() == 0


def test_block_against_the_formula():
    torch.manual_seed(0)
    network = resnet8(widths=(16, 32, 64), shortcut="conv").eval()
    block, x = network.layer2[0], torch.randn(2, 16, 8, 8)
    y = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)))
    y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1))
    shortcut = block.shortcut[1](F.conv2d(x, block.shortcut[0].weight, stride=2))
    torch.testing.assert_close(block(x), F.relu(y + shortcut))


def test_karanchahal_has_no_relu_inside_a_stage_and_one_at_its_end():
    torch.manual_seed(0)
    network = resnet_karanchahal(14).eval()
    x = torch.randn(2, 64, 8, 8).relu()
    assert (network.layer1[0](x) < 0).any()
    assert (network.layer1[1](network.layer1[0](x)) < 0).any()
    torch.testing.assert_close(network.layer1(x), network.layer1[1](network.layer1[0](x)).relu())
    assert network.fc.in_features == 256
    assert isinstance(network.layer1[0].shortcut, nn.Sequential)  # 64 -> 16 channels


def test_widths_reach_the_network():
    network = resnet8(stem=4, widths=[4, 6, 10])
    assert [network.conv1.out_channels, network.fc.in_features] == [4, 10]
    assert resnet8x4().conv1.out_channels == 32
    assert ResNet((1, 1), block=Bottleneck, widths=(4, 8), shortcut="conv").fc.in_features == 32


@pytest.mark.parametrize("depth", [0, 2, 7, 21, -4])
def test_impossible_depths(depth):
    with pytest.raises(UsageError, match=f"6n \\+ 2 .* not {depth}"):
        resnet(depth)


def test_impossible_shapes():
    with pytest.raises(UsageError, match="from 64 to 16 channels: use shortcut='conv'"):
        resnet20(stem=64)
    with pytest.raises(UsageError, match=r"as many widths, not \[16, 32\]"):
        resnet20(widths=(16, 32))
    with pytest.raises(UsageError, match="'pad' or 'conv', not 'skip'"):
        resnet20(shortcut="skip")
