import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks._operators import find


@pytest.mark.parametrize(
    "name", ["aten.conv2d.default", "aten.add.Tensor", "aten.relu_.default", "aten.hardtanh_.default", "aten.t.default"]
)
def test_operators_that_calculate_are_found(name):
    _, base, overload = name.split(".")
    assert find(name) is getattr(getattr(torch.ops.aten, base), overload)


def test_sizes_are_calculated_with():
    assert find("size.mul")(3, 4) == 12


@pytest.mark.parametrize(
    "name",
    [
        "aten.from_file.default",  # maps a file into memory
        "aten.rand.default",
        "aten.bernoulli_.float",
        "aten.empty.memory_format",
        "aten.as_strided.default",
        "aten.set_.source_Tensor",
        "aten.resize_.default",
        "aten.convolution_backward.default",
        "aten.atan2.out",
        "aten.conv2d.nothing",
        "aten.__class__.default",
        "aten.__init__.__globals__",
        "aten.name.default",
        "size.pow",
        "size.__class__",
        "os.system",
        "torch.os.system",
        "profiler._record_function_enter.default",
        "aten.relu.default.__class__",
        "",
    ],
)
def test_nothing_else_is(name):
    with pytest.raises(UsageError, match="only operators of ATen that calculate"):
        find(name)
