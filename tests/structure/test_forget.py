from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.networks import CNN
from mentorch.structure import larger_weights, later_layers, plan, split_by
from mentorch.structure._split import pack, unpack

IMAGE = torch.zeros(1, 3, 8, 8)


@given(st.lists(st.booleans(), max_size=40))
def test_masks_are_kept_as_bits(values):
    mask = torch.tensor(values, dtype=torch.bool)
    assert len(pack(mask)) == (len(values) + 7) // 8
    assert unpack(pack(mask))[: len(values)].tolist() == values


def test_equal_masks_are_equal_splits():
    p = plan(CNN(5, widths=(6, 10)), IMAGE)
    assert later_layers(p, 1) == later_layers(p, 1)
    assert later_layers(p, 1) != later_layers(p, 2)


def test_splits_of_ones_own():
    network = CNN(5, widths=(6, 10))
    p = plan(network, IMAGE)
    s = later_layers(p, 1)
    assert [bool(s.mask(name).all()) for name in p.layers] == [True, True, False]
    assert not s.mask("fc.weight").any()
    s = larger_weights(network, p, 0.3)
    for name in p.layers:
        values, mask = network.get_parameter(name).detach().abs(), s.mask(name)
        assert int(mask.sum()) == round(Fraction(3, 10) * mask.numel())
        assert values[mask].min() >= values[~mask].max()
    assert not s.by_channels
    with pytest.raises(UsageError, match="forget between 1 and 2 of 3 layers, not 3"):
        later_layers(p, 3)
    with pytest.raises(UsageError, match=r"the mask of 'layer1.0.weight' has shape \(3,\)"):
        split_by(p, lambda name: torch.ones(3))
