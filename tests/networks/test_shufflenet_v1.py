import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import shufflenet_v1


def test_size_of_distillation_benchmarks():
    assert sum(p.numel() for p in shufflenet_v1(100).parameters()) == 949_258


def test_a_stride_joins_the_pooled_input():
    torch.manual_seed(0)
    unit = shufflenet_v1().eval().layer1[0]
    x = torch.randn(2, 24, 8, 8)
    y = unit(x)
    assert y.shape == (2, 240, 4, 4)
    torch.testing.assert_close(y[:, -24:], torch.nn.functional.avg_pool2d(x, 3, 2, 1).relu())


def test_groups_talk_only_through_the_shuffle():
    torch.manual_seed(0)
    unit = shufflenet_v1(widths=(48, 96, 192)).eval().layer1[1]
    x = torch.randn(1, 48, 8, 8, requires_grad=True)
    # the first output reads the first third of the shuffled middle, which holds every third channel of all groups
    (unit(x) - x.relu()).detach()
    unit.bn3(unit.conv3(unit.conv2(unit.conv1(x))))[:, 0].sum().backward()
    assert set(x.grad.abs().sum((0, 2, 3)).nonzero().flatten().tolist()) == set(range(16))
    x.grad = None
    unit(x)[:, 0].sum().backward()
    assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("widths", [(240, 480), (20, 40, 80), (240, 480, 961)])
def test_impossible_widths(widths):
    with pytest.raises(UsageError, match=str(widths[0])):
        shufflenet_v1(widths=widths)
