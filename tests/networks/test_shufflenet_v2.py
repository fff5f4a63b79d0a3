import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import shufflenet_v2


def test_size_of_distillation_benchmarks():
    assert sum(p.numel() for p in shufflenet_v2(100).parameters()) == 1_355_528


def test_half_of_the_channels_pass_and_are_interleaved():
    torch.manual_seed(0)
    unit = shufflenet_v2().eval().layer1[1]
    x = torch.randn(2, 116, 8, 8)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :58])
    torch.testing.assert_close(y[:, 1::2], unit.right(x[:, 58:]))


def test_a_unit_that_shrinks_reads_everything():
    torch.manual_seed(0)
    unit = shufflenet_v2().eval().layer1[0]
    x = torch.randn(2, 24, 8, 8)
    y = unit(x)
    assert y.shape == (2, 116, 4, 4)
    torch.testing.assert_close(y[:, 0::2], unit.left(x))
    torch.testing.assert_close(y[:, 1::2], unit.right(x))


def test_impossible_widths():
    with pytest.raises(UsageError, match=r"even width, not \[3, 4, 6\]"):
        shufflenet_v2(widths=(3, 4, 6))
