import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import MobileNetV2, cost, mobilenet_v2


def test_size_of_distillation_benchmarks():
    assert cost(mobilenet_v2(100), torch.zeros(1, 3, 32, 32)).parameters == 812_836


def test_size_of_the_paper():
    # 3.5 M with 1000 classes; ours keeps one 32 -> 32 expansion and its norm, which the paper leaves out
    network = MobileNetV2(1000)
    assert sum(p.numel() for p in network.parameters()) - (32 * 32 + 2 * 32) == 3_504_872


def test_residual_only_where_shapes_agree():
    network = mobilenet_v2().eval()
    first, second = network.layer3[0], network.layer3[1]
    x = torch.randn(1, 12, 8, 8)
    y = first(x)
    assert y.shape == (1, 16, 4, 4)
    body = second.bn3(second.conv3(second.bn2(second.conv2(second.bn1(second.conv1(y)).relu())).relu()))
    torch.testing.assert_close(second(y), y + body)


@pytest.mark.parametrize(("width", "stem", "head"), [(0.5, 16, 1280), (1.0, 32, 1280), (1.5, 48, 1920)])
def test_width_reaches_every_layer(width, stem, head):
    with torch.device("meta"):
        network = MobileNetV2(width=width)
    assert [network.conv1.out_channels, network.fc.in_features] == [stem, head]


def test_no_channels_left():
    with pytest.raises(UsageError, match=r"not 0\.01"):
        mobilenet_v2(width=0.01)
