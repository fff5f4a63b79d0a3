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

    def reached(output):
        (gradient,) = torch.autograd.grad(output[:, 0].sum(), x)
        return set((gradient.abs().sum((0, 2, 3)) > 0).nonzero().flatten().tolist())

    # the residual path aside, the first output sees the first third of the channels without a shuffle, all with it
    assert reached(unit.conv3(unit.conv2(unit.conv1(x)))) == set(range(16))
    unit.relu1, unit.relu2, unit.relu3 = (torch.nn.Identity() for _ in range(3))
    assert reached(unit(x)) == set(range(48))


@pytest.mark.parametrize("widths", [(240, 480), (20, 40, 80), (240, 480, 961)])
def test_impossible_widths(widths):
    with pytest.raises(UsageError, match=str(widths[0])):
        shufflenet_v1(widths=widths)
