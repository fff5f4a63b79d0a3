import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import CNN, cnn_medium, cnn_small, cnn_tiny


def closed_form(in_channels, widths, classes):
    pairs = zip((in_channels, *widths), widths, strict=False)
    return sum(9 * a * b + 2 * b for a, b in pairs) + (widths[-1] + 1) * classes


@pytest.mark.parametrize(
    ("builder", "widths", "low", "high"),
    [(cnn_tiny, (4, 8), 300, 600), (cnn_small, (16, 32), 4e3, 7e3), (cnn_medium, (32, 64, 128), 8e4, 1.1e5)],
)
def test_sizes(builder, widths, low, high):
    parameters = sum(p.numel() for p in builder(10, 1).parameters())
    assert parameters == closed_form(1, widths, 10)
    assert low < parameters < high


def test_it_is_a_linear_classifier_of_mean_features():
    torch.manual_seed(0)
    network, x = cnn_small(4, 1).eval(), torch.randn(3, 1, 8, 8)
    features = network.layer2(network.layer1(x)).mean((2, 3))
    torch.testing.assert_close(network(x), features @ network.fc.weight.T + network.fc.bias)


def test_widths():
    assert cnn_tiny(widths=(2, 3, 5)).fc.in_features == 5
    with pytest.raises(UsageError, match="at least one width"):
        CNN(widths=())
