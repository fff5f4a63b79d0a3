import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data import Normalize

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def test_each_channel_is_centred_and_scaled():
    images = torch.rand(4, 3, 5, 5)
    out = Normalize(MEAN, STD)(images)
    for channel in range(3):
        torch.testing.assert_close(out[:, channel], (images[:, channel] - MEAN[channel]) / STD[channel])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 2)), min_size=1, max_size=5))
def test_inverse_undoes_forward(channels):
    view = Normalize(*zip(*channels, strict=True))
    images = torch.rand(2, len(channels), 3, 3)
    torch.testing.assert_close(view.inverse(view(images)), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(view(view.inverse(images)), images, atol=1e-4, rtol=0)


def test_mean_and_std_are_saved_and_shown():
    view = Normalize(MEAN, STD)
    other = Normalize((0.0,) * 3, (1.0,) * 3)
    other.load_state_dict(view.state_dict())
    images = torch.rand(1, 3, 2, 2)
    assert torch.equal(other(images), view(images))
    assert "0.4914" in repr(view)
    assert not list(view.parameters())


def test_two_views_are_two_things():
    assert Normalize(MEAN, STD) != Normalize(MEAN, STD)
    assert len({Normalize(MEAN, STD), Normalize(MEAN, STD)}) == 2


def test_it_compiles_into_one_graph():
    images = torch.rand(2, 3, 4, 4)
    compiled = torch.compile(Normalize(MEAN, STD), backend="eager", fullgraph=True)
    assert torch.equal(compiled(images), Normalize(MEAN, STD)(images))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((), ()), ((0.5,), (-1.0,))])
def test_impossible_statistics_are_refused(mean, std):
    with pytest.raises(UsageError, match="one positive std per channel"):
        Normalize(mean, std)


def test_integers_and_other_channel_counts_are_refused():
    view = Normalize(MEAN, STD)
    with pytest.raises(UsageError, match="divide by 255"):
        view(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(UsageError, match="expects 3 channels"):
        view(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UsageError, match="expects 3 channels"):
        view.inverse(torch.zeros(1, 4, 2, 2))
